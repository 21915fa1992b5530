/**
 * Sends what waits, oldest first, as far as the account allows.
 * Invariant: one POST for one claim. A claimed row is `begun` on disk; what its POST brought is written back under its
 * fence; a POST that is cut off at a stop leaves the row as it is.
 */
import type { Bell } from '../events/bell.ts'
import { MODELS } from '../models.ts'
import { answered, type Job } from '../prediction.ts'
import type { Store } from '../store/store.ts'
import { SUBMIT_TIMEOUT_MS, type Upstream } from '../upstream/client.ts'
import { createLoop, type Log, type Loop } from './loop.ts'
import { nextLook, type PollLimits } from './schedule.ts'

export interface SubmitterOptions {
  store: Store
  upstream: Upstream
  bell: Bell
  log: Log
  now: () => number
  concurrency: number | null
  perMinute: number | null
  poll: PollLimits
}

/** POSTs at once where the account sets no limit. */
const CAPACITY = 100
/** Outlives the POST, so that nobody takes the row while its answer may still come. */
const LEASE_MS = SUBMIT_TIMEOUT_MS + 30_000
const INTERVAL_MS = 500

export function createSubmitter({
  store,
  upstream,
  bell,
  log,
  now,
  concurrency,
  perMinute,
  poll,
}: SubmitterOptions): Loop {
  async function perform(job: Job, signal: AbortSignal): Promise<void> {
    const outcome = await upstream.submit(MODELS[job.model].upstreamId, job.input, signal)
    if (outcome === null) return
    const at = now()
    const firstLook = nextLook(at, at, poll, Math.random())
    const changed = await store.change(job.id, answered(outcome, at, firstLook), at, job.fence)
    const told = { prediction: job.id, app: job.appId, outcome: outcome.kind, ms: at - (job.begunAt ?? at) }
    if (changed === null) log.error(told, 'an answer came after its row had moved on')
    else if (outcome.kind === 'accepted') log.info({ ...told, upstreamId: outcome.upstreamId }, 'submitted')
    else log.warn(told, EXPLAINED[outcome.kind])
  }

  return createLoop({
    name: 'submitter',
    claim: limit => {
      const at = now()
      return store.claimSubmits({ now: at, leaseUntil: at + LEASE_MS, limit, concurrency, perMinute })
    },
    perform,
    bell,
    capacity: concurrency ?? CAPACITY,
    intervalMs: INTERVAL_MS,
    log,
  })
}

const EXPLAINED = {
  unsent: 'upstream refused the connection; the job stays queued, submits pause until upstream can be read',
  rejected: 'upstream refused the input',
  account:
    'the upstream account needs its operator (key, credit or permission); jobs stay queued, submits pause',
  throttled: 'upstream wants fewer submits; the job stays queued, submits pause',
  unknown:
    'a POST was sent and its outcome is unknown; it is not sent again, submits pause until upstream can be read',
} as const
