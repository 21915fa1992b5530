/**
 * Takes away what has outlived its use: old events, expired keys. In small batches, so that nobody waits for it.
 * Invariant: no event is taken away that a reader still has before it.
 */
import { setImmediate } from 'node:timers/promises'
import type { Feed } from '../events/feed.ts'
import type { Store } from '../store/store.ts'
import { createLoop, type Log, type Loop } from './loop.ts'

const BATCH = 500
const INTERVAL_MS = 10_000

export function createJanitor(options: {
  store: Store
  feed: Pick<Feed, 'lowestHeld'>
  log: Log
  now: () => number
  retentionMs: number
}): Loop {
  const { store, feed, log, now, retentionMs } = options
  return createLoop<never>({
    name: 'janitor',
    async claim() {
      const keys = await store.pruneKeys(now())
      if (keys > 0) log.debug({ keys }, 'expired keys pruned')
      for (let pruned = BATCH; pruned === BATCH; await setImmediate()) {
        pruned = await store.pruneEvents(now() - retentionMs, BATCH, feed.lowestHeld() ?? undefined)
        if (pruned > 0) log.debug({ events: pruned }, 'old events pruned')
      }
      return []
    },
    perform: async () => {},
    capacity: 1,
    intervalMs: INTERVAL_MS,
    log,
  })
}
