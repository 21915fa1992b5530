/**
 * Takes away what has outlived its use: old events, expired keys. In small batches, so that nobody waits for it. And
 * brings back what a clock that leapt ahead, and back, has left due in a far future.
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
  /** No worker puts a row off by more, ms. */
  furthestMs: number
}): Loop {
  const { store, feed, log, now, retentionMs, furthestMs } = options
  return createLoop<never>({
    name: 'janitor',
    async claim() {
      const keys = await store.pruneKeys(now())
      if (keys > 0) log.debug({ keys }, 'expired keys pruned')
      const recalled = await store.recall(now(), now() + furthestMs)
      if (recalled > 0) log.warn({ recalled }, 'jobs were due in a far future: has the clock leapt?')
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
