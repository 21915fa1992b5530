/**
 * Tells whoever asked for it that a job has ended: one timer for the webhook that is due next.
 * Invariant: what is owed stands in the ledger until it was answered 2xx or tried four times, so a restart goes on with it;
 * after `close` nothing runs.
 */
import type { Dispatcher } from 'undici'
import type { SimulatedJob } from './job.ts'
import type { Ledger, Webhook } from './simulator-store.ts'
import { signed } from './webhook-signature.ts'

export interface AnnouncerOptions {
  ledger: Ledger
  now: () => number
  secret: string
  prediction: (job: SimulatedJob) => object
  /** Asked before the first try of each. */
  fault: (webhook: Webhook) => WebhookFault | null
}

/** It is never sent, sent twice at once, or sent so much later. */
export type WebhookFault = 'lost' | 'doubled' | { delayMs: number }

/** One POST of a webhook. */
export interface Delivery {
  /** Of its job. */
  id: string
  url: string
  /** Null: there was no answer. */
  status: number | null
}

export interface Announcer {
  /** Sends what is due, and sets the timer for what is due next. */
  look(): void
  /** Resolves once the job's webhook has been sent, whatever the answer; at once where none is owed. */
  announced(id: string): Promise<void>
  close(): Promise<void>
}

const ANSWER_MS = 5000
/** After each try but the last. */
const BACKOFF_MS = [1000, 2000, 4000]
/** Node's timers know no longer time. */
const LONGEST_MS = 2 ** 31 - 1

export function createAnnouncer(
  { ledger, now, secret, prediction, fault }: AnnouncerOptions,
  deliveries: (delivery: Delivery) => void,
): Announcer {
  let sender: ReturnType<typeof createSender> | undefined
  const closing = new AbortController()
  const underway = new Set<Promise<void>>()
  const awaited = new Map<string, PromiseWithResolvers<void>>()
  const putOffOnce = new Set<string>()
  let timer: NodeJS.Timeout | undefined
  ledger.regainWebhooks()

  function over(id: string): void {
    awaited.get(id)?.resolve()
    awaited.delete(id)
  }

  async function post({ id, url }: Webhook): Promise<boolean> {
    const body = JSON.stringify(prediction(ledger.get(id)!))
    const headers = signed(secret, id, now(), body)
    let status: number | null = null
    try {
      sender ??= createSender()
      const { post } = await sender
      const answer = await post(url, { headers, body, signal: closing.signal })
      status = answer.statusCode
      await answer.body.dump()
    } catch {}
    if (!closing.signal.aborted) deliveries({ id, url, status })
    return status !== null && status >= 200 && status < 300
  }

  async function send(webhook: Webhook, times: number): Promise<void> {
    const sent = await Promise.all(Array.from({ length: times }, () => post(webhook)))
    if (closing.signal.aborted) return
    const wait = BACKOFF_MS[webhook.tries]
    if (sent.includes(true) || wait === undefined) ledger.dropWebhook(webhook.id)
    else ledger.putOffWebhook(webhook.id, now() + wait, webhook.tries + 1)
    over(webhook.id)
  }

  function begin(webhook: Webhook): void {
    const { id, tries } = webhook
    const wrong = tries === 0 && !putOffOnce.delete(id) ? fault(webhook) : null
    if (wrong === 'lost') {
      ledger.dropWebhook(id)
      over(id)
    } else if (wrong === 'doubled' || wrong === null) {
      const done = send(webhook, wrong === null ? 1 : 2).finally(() => {
        underway.delete(done)
        announcer.look()
      })
      underway.add(done)
    } else {
      putOffOnce.add(id)
      ledger.putOffWebhook(id, now() + wrong.delayMs, 0)
    }
  }

  const announcer: Announcer = {
    look() {
      clearTimeout(timer)
      if (closing.signal.aborted) return
      for (const webhook of ledger.takeWebhooks(now())) begin(webhook)
      const next = ledger.nextWebhook()
      if (next !== null) timer = setTimeout(announcer.look, Math.min(Math.max(next - now(), 0), LONGEST_MS))
    },
    announced(id) {
      if (!ledger.owes(id)) return Promise.resolve()
      const waited = awaited.get(id) ?? Promise.withResolvers<void>()
      awaited.set(id, waited)
      return waited.promise
    },
    async close() {
      closing.abort()
      clearTimeout(timer)
      await Promise.all(underway)
      for (const id of awaited.keys()) over(id)
      await (await sender)?.close()
    },
  }
  return announcer
}

/** undici is loaded with the first webhook: where none is asked for, nobody needs it here. */
async function createSender() {
  const { Agent, request } = await import('undici')
  const dispatcher = new Agent({
    pipelining: 0,
    connections: 32,
    connect: { timeout: ANSWER_MS },
    headersTimeout: ANSWER_MS,
    bodyTimeout: ANSWER_MS,
  })
  return {
    post: (url: string, options: Pick<Dispatcher.RequestOptions, 'headers' | 'body' | 'signal'>) =>
      request(url, { dispatcher, method: 'POST', ...options }),
    close: () => dispatcher.destroy(),
  }
}
