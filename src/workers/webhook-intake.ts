/**
 * Takes in webhooks, and makes the poller poll.
 * Invariant: a webhook ends no job. It only makes the job due for a poll, and may give the job's upstream id. It may
 * arrive before the answer to the POST. Therefore it is remembered before its row is looked up, and the submitter
 * checks for it after writing its row: the second of the two sees the first.
 */
import { LRUCache } from 'lru-cache'
import { MINUTE_MS } from '../domain/time.ts'
import { webhookReceived } from '../domain/transitions.ts'
import type { Log } from '../observability/log.ts'
import type { Store } from '../store/store.ts'
import type { WebhookUrls } from '../upstream/webhook-url.ts'

export interface WebhookIntake {
  /** @param token from the URL that the webhook was sent to */
  receive(upstreamId: string, token: string | null): Promise<void>
  /** When the last webhook for this id arrived, ms since 1970; null if none arrived lately. */
  lastWebhookAt(upstreamId: string): number | null
}

const MAX_REMEMBERED = 10_000
const REMEMBER_MS = 15 * MINUTE_MS

export function createWebhookIntake(options: {
  store: Store
  webhookUrls: WebhookUrls
  log: Log
  now: () => number
  /** Wakes the poller. */
  notifyPoller: () => void
}): WebhookIntake {
  const { store, webhookUrls, log, now, notifyPoller } = options
  const webhookTimes = new LRUCache<string, number>({ max: MAX_REMEMBERED, ttl: REMEMBER_MS })

  return {
    async receive(upstreamId, token) {
      webhookTimes.set(upstreamId, now())
      const ownerId = await store.findIdByUpstreamId(upstreamId)
      const id = ownerId ?? (token === null ? null : webhookUrls.verifyToken(token))
      if (id === null) return log.debug({ upstreamId }, 'a webhook for an unknown job')
      const at = now()
      const changed = await store.change(id, webhookReceived(upstreamId, at), at)
      if (changed === null) {
        // The POST was reported as rejected; it may have been charged all the same.
        if (ownerId === null)
          log.warn({ prediction: id, upstreamId }, 'a webhook for a job that was not sent')
        return
      }
      if (ownerId === null)
        log.info(
          { prediction: id, app: changed.appId, upstreamId },
          'a webhook says under which id it is known',
        )
      notifyPoller()
    },
    lastWebhookAt: upstreamId => webhookTimes.get(upstreamId) ?? null,
  }
}
