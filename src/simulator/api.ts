/**
 * Upstream's API v3, for the calls in use: submit, result, list, balance, webhook secret, upload ticket.
 * Like upstream, it silently ignores unknown body keys and runs the job with the defaults.
 */
import { randomUUID } from 'node:crypto'
import type { AccountLimits } from './account-limits.ts'
import type { ApiCall, Reply } from './call.ts'
import { isKept, planOf, predictionOf, triggersWebhook, WEEK_MS } from './job.ts'
import type { Media } from './media.ts'
import type { SimulatorStore } from './simulator-store.ts'

const MODELS = new Set(['alibaba/wan-2.2/i2v-plus-1080p', 'alibaba/wan-2.2/i2v-plus-480p'])

/** USD. It never changes. */
const BALANCE = 100

const success = (data: unknown): Reply => ({ status: 200, body: { code: 200, message: 'success', data } })
const errorReply = (code: number, message: string): Reply => ({
  status: code,
  body: { code, message, data: null },
})

export interface SimulatorApi {
  handle(call: ApiCall): Reply
}

export interface SimulatorApiOptions {
  store: SimulatorStore
  accountLimits: AccountLimits
  media: Pick<Media, 'createTicket'>
  now: () => number
  origin: () => string
  /** Whether list items have their `input`. */
  listsInputs: boolean
  webhookSecret: string
  /** Called when a webhook has become pending. */
  onWebhookPending(): void
}

export function createSimulatorApi(options: SimulatorApiOptions): SimulatorApi {
  const { store, accountLimits, media, now, origin, listsInputs, webhookSecret, onWebhookPending } = options

  function submit(model: string, body: unknown, webhook: string | undefined): Reply {
    if (!MODELS.has(model)) return errorReply(404, `model ${model} not found`)
    const input = parametersOf(body)
    if (typeof input === 'string') return errorReply(400, input)
    if (webhook !== undefined && !isWebUrl(webhook)) return errorReply(400, 'webhook must be a URL')
    const retryAfterSeconds = accountLimits.retryAfterSeconds()
    if (retryAfterSeconds !== null)
      return { ...errorReply(429, 'too many requests'), headers: { 'retry-after': `${retryAfterSeconds}` } }
    const job = {
      id: randomUUID().replaceAll('-', ''),
      model,
      input,
      createdAt: now(),
      plan: planOf(String(input.prompt), Math.random()),
    }
    if (webhook === undefined || !triggersWebhook(job)) store.add(job)
    else {
      store.add(job, { url: webhook, dueAt: job.createdAt + job.plan.totalMs })
      onWebhookPending()
    }
    return success(predictionOf(job, now(), origin()))
  }

  function list(body: unknown): Reply {
    const query = isObject(body) ? body : {}
    const { page, page_size: size, model, status } = query
    if (!isIntegerBetween(page, 1, 1_000_000) || !isIntegerBetween(size, 1, 100))
      return errorReply(400, 'page and page_size are required')
    const after = Math.max(now() - WEEK_MS, parseTime(query.created_after, 0))
    const before = parseTime(query.created_before, Number.MAX_SAFE_INTEGER)
    const items = store
      .newest(after, before, typeof model === 'string' ? model : undefined)
      .map(job => ({ job, ...(predictionOf(job, now(), origin()) as { status: string }) }))
      .filter(item => typeof status !== 'string' || item.status === status)
      .drop((page - 1) * size)
      .take(size)
      .map(({ job, ...item }) => (listsInputs ? { ...item, input: job.input } : item))
    return success({ page, items: [...items] })
  }

  function result(id: string): Reply {
    const job = store.get(id)
    if (job === null || !isKept(job, now())) return errorReply(404, 'prediction not found')
    return success(predictionOf(job, now(), origin()))
  }

  return {
    handle({ method, path, body, webhook }) {
      const resultId = /^\/predictions\/([^/]+)\/result$/.exec(path)?.[1]
      if (resultId !== undefined && method === 'GET') return result(resultId)
      if (path === '/balance' && method === 'GET') return success({ balance: BALANCE })
      if (path === '/webhook/secret' && method === 'GET') return success({ secret: webhookSecret })
      if (method !== 'POST') return errorReply(404, 'not found')
      if (path === '/media/uploads') return media.createTicket(body)
      return path === '/predictions' ? list(body) : submit(path.slice(1), body, webhook)
    },
  }
}

/** Returns the documented keys with their defaults, or an error message. */
function parametersOf(body: unknown): Record<string, unknown> | string {
  if (!isObject(body)) return 'the body is not a JSON object'
  const {
    image,
    prompt,
    negative_prompt = '',
    duration = 5,
    enable_prompt_expansion = false,
    seed = -1,
  } = body
  if (typeof image !== 'string' || !isWebUrl(image)) return 'image is required and must be a URL'
  if (typeof prompt !== 'string' || prompt === '') return 'prompt is required'
  if (typeof negative_prompt !== 'string') return 'negative_prompt must be a string'
  if (duration !== 5) return 'duration must be 5'
  if (typeof enable_prompt_expansion !== 'boolean') return 'enable_prompt_expansion must be a boolean'
  if (!isIntegerBetween(seed, -1, 2_147_483_647)) return 'seed must be an integer from -1 to 2147483647'
  return { image, prompt, negative_prompt, duration, enable_prompt_expansion, seed }
}

const isWebUrl = (text: string) => /^https?:\/\//.test(text) && URL.canParse(text)
const parseTime = (value: unknown, fallback: number): number => Date.parse(String(value)) || fallback
const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
const isIntegerBetween = (value: unknown, min: number, max: number): value is number =>
  Number.isInteger(value) && (value as number) >= min && (value as number) <= max
