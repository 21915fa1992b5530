/**
 * Settles rows whose POST was begun by a process that never wrote the answer down.
 * Invariant: such a row is never sent again.
 */
import { abandoned, type Job } from '../prediction.ts'
import type { Store } from '../store/store.ts'
import { createLoop, type Log, type Loop } from './loop.ts'

const LEASE_MS = 30_000
const INTERVAL_MS = 1000

export function createReconciler(options: { store: Store; log: Log; now: () => number }): Loop {
  const { store, log, now } = options
  return createLoop<Job>({
    name: 'reconciler',
    claim: limit => store.claimAbandoned({ now: now(), leaseUntil: now() + LEASE_MS, limit }),
    async perform(job) {
      const at = now()
      if (await store.change(job.id, abandoned(at), at, job.fence))
        log.warn(
          { prediction: job.id, app: job.appId },
          'a POST was begun and never answered; its outcome is unknown',
        )
    },
    capacity: 10,
    intervalMs: INTERVAL_MS,
    log,
  })
}
