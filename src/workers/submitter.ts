/**
 * Sends what waits, oldest first, as far as the account allows.
 * Invariant: one POST for one claim. A claimed row is `begun` on disk; what its POST brought is written back under its
 * fence, however long the database takes; a POST that is cut off at a stop leaves the row as it is.
 */
import { setTimeout as pause } from 'node:timers/promises'
import type { Bell } from '../events/bell.ts'
import { MODELS } from '../models.ts'
import { answered, type Job, type SubmitOutcome } from '../prediction.ts'
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
  /** The ids of the jobs in hand, for whoever might take them for abandoned. */
  underway: Set<string>
}

/** POSTs at once where the account sets no limit. */
const CAPACITY = 100
/** Outlives the POST, so that nobody takes the row while its answer may still come. */
const LEASE_MS = SUBMIT_TIMEOUT_MS + 30_000
const INTERVAL_MS = 500
/** Between tries to write an answer down. */
const FIRST_RETRY_MS = 100
const LAST_RETRY_MS = 5000

export function createSubmitter(options: SubmitterOptions): Loop {
  const { store, upstream, bell, log, now, concurrency, perMinute, poll, underway } = options

  async function perform(job: Job, signal: AbortSignal): Promise<void> {
    underway.add(job.id)
    try {
      const outcome = await upstream.submit(MODELS[job.model].upstreamId, job.input, signal)
      if (outcome !== null) await keep(job, outcome, signal)
    } finally {
      underway.delete(job.id)
    }
  }

  /** An id that another prediction has would hand one app the other's video. */
  async function doubted(outcome: SubmitOutcome): Promise<SubmitOutcome> {
    const isTaken = outcome.kind === 'accepted' && (await store.ownsUpstreamId(outcome.upstreamId))
    return isTaken ? { kind: 'unknown' } : outcome
  }

  /** An answer in hand is not let go of: a full disk or a locked file ends, and a paid job must be known then. */
  async function keep(job: Job, answer: SubmitOutcome, signal: AbortSignal): Promise<void> {
    const upstreamId = answer.kind === 'accepted' ? answer.upstreamId : undefined
    const told = { prediction: job.id, app: job.appId, upstreamId, ms: now() - (job.begunAt ?? 0) }
    for (let wait = FIRST_RETRY_MS; !signal.aborted; wait = Math.min(2 * wait, LAST_RETRY_MS)) {
      try {
        const outcome = await doubted(answer)
        const at = now()
        const firstLook = nextLook(at, at, poll, Math.random())
        const changed = await store.change(job.id, answered(outcome, at, firstLook), at, job.fence)
        if (changed === null) log.error(told, 'an answer came after its row had moved on')
        else if (outcome.kind === 'accepted') log.info(told, 'submitted')
        else log.warn({ ...told, outcome: outcome.kind }, EXPLAINED[outcome.kind])
        return
      } catch (error) {
        log.error({ ...told, err: error }, "an answer can't be written down; trying again")
        await pause(wait, undefined, { signal }).catch(() => {})
      }
    }
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
