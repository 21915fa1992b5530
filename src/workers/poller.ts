/**
 * Looks at what upstream has accepted, until it has ended.
 * Invariant: a look that failed says nothing of the job. Only upstream's own word ends it.
 */
import { isFinal, type Job, observed, postponed } from '../prediction.ts'
import type { Store } from '../store/store.ts'
import { READ_TIMEOUT_MS, type Upstream } from '../upstream/client.ts'
import { createLoop, type Log, type Loop } from './loop.ts'
import { nextLook, type PollLimits } from './schedule.ts'

export interface PollerOptions {
  store: Store
  upstream: Upstream
  log: Log
  now: () => number
  poll: PollLimits
}

/** Looks at once. */
const CAPACITY = 64
const LEASE_MS = READ_TIMEOUT_MS + 15_000
/** How late a look may be. */
const INTERVAL_MS = 200

export function createPoller({ store, upstream, log, now, poll }: PollerOptions): Loop {
  async function perform(job: Job, signal: AbortSignal): Promise<void> {
    if (job.upstreamId === null) throw new Error(`${job.id} is accepted and has no upstream id`)
    const look = await upstream.look(job.upstreamId, signal)
    const at = now()
    const next = nextLook(job.submittedAt ?? at, at, poll, Math.random())
    if (look.seen === null) {
      log.warn(
        { prediction: job.id, app: job.appId, status: look.status },
        'a look brought no answer; it is repeated',
      )
      await store.change(job.id, postponed(Math.max(next, at + (look.retryAfterMs ?? 0))), at, job.fence)
      return
    }
    const changed = await store.change(job.id, observed(look.seen, at, next), at, job.fence)
    if (changed !== null && changed.status !== job.status) {
      const told = {
        prediction: job.id,
        app: job.appId,
        status: changed.status,
        error: changed.error ?? undefined,
      }
      log.info(told, isFinal(changed.status) ? 'finished' : 'moved')
    }
  }

  return createLoop({
    name: 'poller',
    claim: limit => {
      const at = now()
      return store.claimPolls({ now: at, leaseUntil: at + LEASE_MS, limit })
    },
    perform,
    capacity: CAPACITY,
    intervalMs: INTERVAL_MS,
    log,
  })
}
