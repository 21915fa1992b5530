/**
 * Settles rows whose POST was begun by a process that never wrote the answer down.
 * Invariant: such a row is never sent again.
 */
import { abandoned, type Job } from '../prediction.ts'
import type { Store } from '../store/store.ts'
import { createLoop, type Log, type Loop } from './loop.ts'

export interface ReconcilerOptions {
  store: Store
  log: Log
  now: () => number
  /** What this very process has in hand is not abandoned, even if it slept through its lease. */
  underway: ReadonlySet<string>
}

const INTERVAL_MS = 1000
const CAPACITY = 10

export function createReconciler({ store, log, now, underway }: ReconcilerOptions): Loop {
  return createLoop<Job>({
    name: 'reconciler',
    claim: limit => {
      const at = now()
      // No lease: until it is settled it stays due, and holds every submit back.
      return store.claimAbandoned({ now: at, leaseUntil: at, limit, except: underway })
    },
    async perform(job) {
      const at = now()
      if (await store.change(job.id, abandoned(at), at, job.fence))
        log.warn(
          { prediction: job.id, app: job.appId },
          'a POST was begun and never answered; its outcome is unknown',
        )
    },
    capacity: CAPACITY,
    intervalMs: INTERVAL_MS,
    log,
  })
}
