/**
 * Takes what a webhook says, and has the poller look.
 * Invariant: a webhook wakes and never decides; and it may come before the POST's own answer. So it is remembered before
 * its row is looked for, and the submitter asks after its row is written: whichever comes second sees the other.
 */
import { LRUCache } from 'lru-cache'
import { announced } from '../domain/transitions.ts'
import type { Store } from '../store/store.ts'
import type { WebhookAddresses } from '../upstream/webhook-url.ts'
import type { Log } from './worker-loop.ts'

export interface Receiver {
  /** @param token of the address it came to */
  receive(upstreamId: string, token: string | null): Promise<void>
  /** When the last webhook for it came, if one came lately. */
  heardOf(upstreamId: string): number | null
}

const REMEMBERED = 10_000
const MEMORY_MS = 15 * 60_000

export function createReceiver(options: {
  store: Store
  addresses: WebhookAddresses
  log: Log
  now: () => number
  /** Wakes the poller. */
  ring: () => void
}): Receiver {
  const { store, addresses, log, now, ring } = options
  const heard = new LRUCache<string, number>({ max: REMEMBERED, ttl: MEMORY_MS })

  return {
    async receive(upstreamId, token) {
      heard.set(upstreamId, now())
      const owner = await store.ownerOf(upstreamId)
      const id = owner ?? (token === null ? null : addresses.idOf(token))
      if (id === null) return log.debug({ upstreamId }, 'a webhook for a job nobody here knows')
      const at = now()
      const changed = await store.change(id, announced(upstreamId, at), at)
      if (changed === null) {
        // Its POST was refused, so it was said: it may have been charged all the same.
        if (owner === null) log.warn({ prediction: id, upstreamId }, 'a webhook for a job that was not sent')
        return
      }
      if (owner === null)
        log.info(
          { prediction: id, app: changed.appId, upstreamId },
          'a webhook says under which id it is known',
        )
      ring()
    },
    heardOf: upstreamId => heard.get(upstreamId) ?? null,
  }
}
