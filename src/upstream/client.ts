/**
 * WaveSpeed's API v3 as the gateway uses it.
 * Invariant: the key goes to the base URL's host alone and no redirect is followed; a submit is one POST on a
 * connection of its own, for a kept-alive one may die with the request on it and leave the outcome unknown for nothing.
 */
import { Agent, type Dispatcher, request } from 'undici'
import type { Input, Observation, SubmitOutcome } from '../prediction.ts'
import { backoff, outcomeOf } from './outcome.ts'
import { observe, prediction, readEnvelope } from './payload.ts'

export interface Upstream {
  /**
   * Sends the job, once. Never throws: whatever goes wrong has an outcome.
   * Null if `signal` aborted the wait: nothing is known and nothing may be written down.
   */
  submit(modelId: string, input: Input, signal: AbortSignal): Promise<SubmitOutcome | null>
  /** Null: no answer that says anything of the job; ask again, after `retryAfterMs` if upstream named a time. */
  look(upstreamId: string, signal: AbortSignal): Promise<Look>
  /** Whether upstream can be read with this key: one page of the list, of one item, or else the balance. */
  probe(signal: AbortSignal): Promise<boolean>
  close(): Promise<void>
}

export type Look = { seen: Observation } | { seen: null; status: number | null; retryAfterMs: number | null }

export interface UpstreamOptions {
  baseUrl: string
  apiKey: string
  now?: () => number
  /** How long a POST may take to be answered, ms. Past it its outcome is unknown. */
  submitTimeoutMs?: number
  /** How long a read may take, ms. */
  readTimeoutMs?: number
}

export const SUBMIT_TIMEOUT_MS = 60_000
export const READ_TIMEOUT_MS = 15_000
/** More than any answer of upstream's; what is longer is not read to its end. */
const MOST_BYTES = 4 * 1024 * 1024
/** Reads at once, over kept-alive connections. */
const READ_CONNECTIONS = 64

export function createUpstream({
  baseUrl,
  apiKey,
  now = Date.now,
  submitTimeoutMs = SUBMIT_TIMEOUT_MS,
  readTimeoutMs = READ_TIMEOUT_MS,
}: UpstreamOptions): Upstream {
  // A stream that HTTP/2 refuses would be sent again by the transport itself.
  const common = { connect: { timeout: 10_000 }, allowH2: false, maxResponseSize: MOST_BYTES }
  const submits = new Agent({ ...common, pipelining: 0 })
  const reads = new Agent({ ...common, connections: READ_CONNECTIONS })
  const headers = {
    authorization: `Bearer ${apiKey}`,
    'content-type': 'application/json',
    accept: 'application/json',
  }

  async function call(
    dispatcher: Dispatcher,
    method: 'GET' | 'POST',
    path: string,
    body: object | null,
    signal: AbortSignal,
  ) {
    const response = await request(`${baseUrl}/api/v3${path}`, {
      dispatcher,
      method,
      headers,
      body: body && JSON.stringify(body),
      signal,
    })
    const retryAfter = response.headers['retry-after']
    return {
      status: response.statusCode,
      retryAfter: typeof retryAfter === 'string' ? retryAfter : null,
      body: await response.body.text(),
    }
  }

  /** The answer's `data`, where HTTP and the envelope both call it a success. */
  async function read(method: 'GET' | 'POST', path: string, body: object | null, stop: AbortSignal) {
    try {
      const signal = AbortSignal.any([stop, AbortSignal.timeout(readTimeoutMs)])
      const answer = await call(reads, method, path, body, signal)
      const { code, data } = readEnvelope(answer.body)
      const ok = answer.status === 200 && code === 200
      return { ok, data, status: answer.status, retryAfterMs: backoff(answer.retryAfter, now()) }
    } catch {
      return { ok: false, data: null, status: null, retryAfterMs: null }
    }
  }

  return {
    async submit(modelId, input, stop) {
      if (stop.aborted) return null
      const signal = AbortSignal.any([stop, AbortSignal.timeout(submitTimeoutMs)])
      try {
        return outcomeOf(await call(submits, 'POST', `/${modelId}`, parameters(input), signal), now())
      } catch (error) {
        return stop.aborted ? null : outcomeOf({ error }, now())
      }
    },

    async look(upstreamId, stop) {
      const answer = await read('GET', `/predictions/${encodeURIComponent(upstreamId)}/result`, null, stop)
      const found = answer.ok ? prediction.parse(answer.data) : null
      // An answer about another job says nothing of this one.
      if (found === null || (found.id !== '' && found.id !== upstreamId))
        return { seen: null, status: answer.status, retryAfterMs: answer.retryAfterMs }
      return { seen: observe(found) }
    },

    async probe(stop) {
      // No vendor page says which keys may list; either read will do.
      const list = await read('POST', '/predictions', { page: 1, page_size: 1 }, stop)
      return list.ok || (await read('GET', '/balance', null, stop)).ok
    },

    async close() {
      await Promise.all([submits.destroy(), reads.destroy()])
    },
  }
}

/** The flat body, of documented keys only: an unknown one is dropped in silence, and the job billed with the defaults. */
const parameters = (input: Input) => ({
  image: input.imageUrl,
  prompt: input.prompt,
  ...(input.negativePrompt !== null && { negative_prompt: input.negativePrompt }),
  duration: input.duration,
  enable_prompt_expansion: input.enablePromptExpansion,
  seed: input.seed,
})
