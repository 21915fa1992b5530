/**
 * Sends the webhooks of ended jobs, with one timer for the webhook that is due next.
 * Invariant: a pending webhook stays in the store until it was answered 2xx or attempted four times, so a restart continues.
 * After `close` nothing runs.
 */
import type { Dispatcher } from 'undici'
import type { SimulatedJob } from './job.ts'
import type { PendingWebhook, SimulatorStore } from './simulator-store.ts'
import { signWebhook } from './webhook-signer.ts'

export interface WebhookSenderOptions {
  store: SimulatorStore
  now: () => number
  secret: string
  toPrediction: (job: SimulatedJob) => object
  /** Called before the first attempt of each webhook. */
  fault: (webhook: PendingWebhook) => WebhookFault | null
}

/** The webhook is never sent, sent twice at once, or sent later. */
export type WebhookFault = 'lost' | 'doubled' | { delayMs: number }

/** A single POST of a webhook. */
export interface WebhookDelivery {
  /** The job's id. */
  id: string
  url: string
  /** Null: no answer. */
  status: number | null
}

export interface WebhookSender {
  /** Sends due webhooks, and sets the timer for the next one. */
  sendDue(): void
  /** Resolves once the job's webhook has been sent, whatever the answer; at once if no webhook is pending. */
  whenSent(id: string): Promise<void>
  close(): Promise<void>
}

const RESPONSE_TIMEOUT_MS = 5000
/** Delays after each attempt but the last. */
const RETRY_DELAYS_MS = [1000, 2000, 4000]
/** Max delay of a Node timer. */
const MAX_TIMER_MS = 2 ** 31 - 1

export function createWebhookSender(
  { store, now, secret, toPrediction, fault }: WebhookSenderOptions,
  onDelivery: (delivery: WebhookDelivery) => void,
): WebhookSender {
  let httpClient: ReturnType<typeof createHttpClient> | undefined
  const closing = new AbortController()
  const inFlight = new Set<Promise<void>>()
  const waiters = new Map<string, PromiseWithResolvers<void>>()
  const delayedOnce = new Set<string>()
  let timer: NodeJS.Timeout | undefined
  store.reclaimWebhooks()

  function resolveWaiter(id: string): void {
    waiters.get(id)?.resolve()
    waiters.delete(id)
  }

  async function post({ id, url }: PendingWebhook): Promise<boolean> {
    const body = JSON.stringify(toPrediction(store.get(id)!))
    const headers = signWebhook(secret, id, now(), body)
    let status: number | null = null
    try {
      httpClient ??= createHttpClient()
      const { post } = await httpClient
      const response = await post(url, { headers, body, signal: closing.signal })
      status = response.statusCode
      await response.body.dump()
    } catch {}
    if (!closing.signal.aborted) onDelivery({ id, url, status })
    return status !== null && status >= 200 && status < 300
  }

  async function send(webhook: PendingWebhook, times: number): Promise<void> {
    const sent = await Promise.all(Array.from({ length: times }, () => post(webhook)))
    if (closing.signal.aborted) return
    const retryDelayMs = RETRY_DELAYS_MS[webhook.tries]
    if (sent.includes(true) || retryDelayMs === undefined) store.deleteWebhook(webhook.id)
    else store.rescheduleWebhook(webhook.id, now() + retryDelayMs, webhook.tries + 1)
    resolveWaiter(webhook.id)
  }

  function sendWithFault(webhook: PendingWebhook): void {
    const { id, tries } = webhook
    const injectedFault = tries === 0 && !delayedOnce.delete(id) ? fault(webhook) : null
    if (injectedFault === 'lost') {
      store.deleteWebhook(id)
      resolveWaiter(id)
    } else if (injectedFault === 'doubled' || injectedFault === null) {
      const done = send(webhook, injectedFault === null ? 1 : 2).finally(() => {
        inFlight.delete(done)
        webhookSender.sendDue()
      })
      inFlight.add(done)
    } else {
      delayedOnce.add(id)
      store.rescheduleWebhook(id, now() + injectedFault.delayMs, 0)
    }
  }

  const webhookSender: WebhookSender = {
    sendDue() {
      clearTimeout(timer)
      if (closing.signal.aborted) return
      for (const webhook of store.claimDueWebhooks(now())) sendWithFault(webhook)
      const nextDueAt = store.nextWebhookDueAt()
      if (nextDueAt !== null)
        timer = setTimeout(webhookSender.sendDue, Math.min(Math.max(nextDueAt - now(), 0), MAX_TIMER_MS))
    },
    whenSent(id) {
      if (!store.hasPendingWebhook(id)) return Promise.resolve()
      const waiter = waiters.get(id) ?? Promise.withResolvers<void>()
      waiters.set(id, waiter)
      return waiter.promise
    },
    async close() {
      closing.abort()
      clearTimeout(timer)
      await Promise.all(inFlight)
      for (const id of waiters.keys()) resolveWaiter(id)
      await (await httpClient)?.close()
    },
  }
  return webhookSender
}

/** Loads undici with the first webhook, since many runs send none. */
async function createHttpClient() {
  const { Agent, request } = await import('undici')
  const dispatcher = new Agent({
    pipelining: 0,
    connections: 32,
    connect: { timeout: RESPONSE_TIMEOUT_MS },
    headersTimeout: RESPONSE_TIMEOUT_MS,
    bodyTimeout: RESPONSE_TIMEOUT_MS,
  })
  return {
    post: (url: string, options: Pick<Dispatcher.RequestOptions, 'headers' | 'body' | 'signal'>) =>
      request(url, { dispatcher, method: 'POST', ...options }),
    close: () => dispatcher.destroy(),
  }
}
