/**
 * Settles submits of which the gateway does not know whether a job exists: takes over the abandoned submits of a dead
 * process, and searches upstream's list for the job of each unresolved submit.
 * Invariant: such a row is never sent again. It is matched with an upstream job only if that job can belong
 * to no other row: the one unowned job of its model in its time window, with no other unresolved submit of that
 * model near. Anything less could give one app another app's video.
 */

import { MODELS } from '../domain/models.ts'
import { type Job, upstreamInput } from '../domain/prediction.ts'
import { touchesLostTime } from '../domain/restore.ts'
import { notListedUpstream, searchPostponed, submitAbandoned, submitAccepted } from '../domain/transitions.ts'
import type { Log } from '../observability/log.ts'
import type { ContinuousRun } from '../runtime/continuous-run.ts'
import type { Store } from '../store/store.ts'
import type { ListedJob, Upstream } from '../upstream/client.ts'
import { matchesInput } from '../upstream/request-body.ts'
import { isPathSegment } from '../upstream/response-schemas.ts'
import type { PollCircuit } from './poll-circuit.ts'
import { nextSearchAt, searchWindow } from './reconcile-schedule.ts'
import { createWorkerLoop, type WorkerLoop } from './worker-loop.ts'

export interface ReconcilerOptions {
  store: Store
  upstream: Upstream
  pollCircuit: PollCircuit
  log: Log
  now: () => number
  /** Jobs in flight in this process are not abandoned, even if it slept past their leases. */
  submittingIds: ReadonlySet<string>
  continuousRun: Pick<ContinuousRun, 'hasLasted'>
  submitTimeoutMs: number
  readTimeoutMs: number
  /** After this the app gets SUBMISSION_UNKNOWN. */
  submitUnknownAfterMs: number
}

type SearchResult = { kind: 'found'; upstreamId: string } | { kind: 'absent' | 'unsure' | 'unreadable' }

const INTERVAL_MS = 250
const CAPACITY = 4
/** Pages of upstream's list for which a search has time. Each may take `readTimeoutMs`. */
const MAX_PAGES_PER_SEARCH = 4

export function createReconciler(options: ReconcilerOptions): WorkerLoop {
  const {
    store,
    upstream,
    pollCircuit,
    log,
    now,
    submittingIds,
    continuousRun,
    submitTimeoutMs,
    readTimeoutMs,
    submitUnknownAfterMs,
  } = options
  /** A search ends before its lease. */
  const maxSearchMs = MAX_PAGES_PER_SEARCH * readTimeoutMs

  async function takeOver(job: Job): Promise<void> {
    const at = now()
    const { to } = searchWindow(job.submitStartedAt ?? at, submitTimeoutMs)
    if (await store.change(job.id, submitAbandoned(at, to), at, job.fence))
      log.warn(
        { prediction: job.id, app: job.appId },
        'a POST was started and never answered; searching for it',
      )
  }

  async function searchFor(job: Job, signal: AbortSignal): Promise<void> {
    const result = await findUpstreamJob(job, signal)
    if (signal.aborted) return
    const at = now()
    const logFields = { prediction: job.id, app: job.appId }
    if (result.kind === 'found') {
      const { upstreamId } = result
      if (await store.change(job.id, submitAccepted(upstreamId, at), at, job.fence))
        log.info({ ...logFields, upstreamId }, 'a POST without an answer was found in the list')
      return
    }
    const earliestAt = at + (result.kind === 'unreadable' ? submitTimeoutMs / 2 : 0)
    const nextAt = Math.max(earliestAt, nextSearchAt(job.submitStartedAt ?? at, at, submitTimeoutMs))
    // After a start or a pause the list is read before anything is given up.
    const canGiveUp = result.kind !== 'unreadable' || continuousRun.hasLasted(submitUnknownAfterMs)
    const transition = canGiveUp
      ? notListedUpstream({ now: at, nextSearchAt: nextAt, submitUnknownAfterMs }, result.kind === 'absent')
      : searchPostponed(earliestAt)
    const changed = await store.change(job.id, transition, at, job.fence)
    if (changed !== null && changed.status !== job.status)
      log.warn(logFields, 'the outcome of a POST stays unknown; searching as long as upstream keeps jobs')
  }

  /** The one upstream job that can only be this row's; or whether no such job exists. */
  async function findUpstreamJob(job: Job, signal: AbortSignal): Promise<SearchResult> {
    const submitStartedAt = job.submitStartedAt ?? now()
    const { from, to, conflictWindowMs } = searchWindow(submitStartedAt, submitTimeoutMs)
    // Until the window closes, a matching job may still appear.
    if (now() < to) return { kind: 'unreadable' }
    // The job may be that of a row which the restored copy does not have. restore-review.ts compares the inputs.
    if (touchesLostTime(await store.lostTimes(), { from, to })) return { kind: 'unsure' }
    if (pollCircuit.isOpen) return { kind: 'unreadable' }
    const searchSignal = AbortSignal.any([signal, AbortSignal.timeout(maxSearchMs)])
    const listed = await upstream.list(MODELS[job.model].upstreamId, from, to, searchSignal)
    if (listed === null) return { kind: 'unreadable' }
    // The order matters: a row that received its id meanwhile no longer conflicts, and its id is owned.
    const hasConflictingSubmit = await store.hasConflictingSubmit(
      job,
      submitStartedAt - conflictWindowMs,
      submitStartedAt + conflictWindowMs,
    )
    const [candidate, secondCandidate] = await filterUnowned(listed)
    if (candidate === undefined) return { kind: 'absent' }
    const isComplete =
      isPathSegment(candidate.upstreamId) && candidate.model !== null && candidate.createdAt !== null
    const isMatch =
      isComplete && (candidate.input === null || matchesInput(candidate.input, upstreamInput(job)))
    if (secondCandidate !== undefined || hasConflictingSubmit || !isMatch) return { kind: 'unsure' }
    return { kind: 'found', upstreamId: candidate.upstreamId }
  }

  async function filterUnowned(listed: readonly ListedJob[]): Promise<ListedJob[]> {
    const owners = await Promise.all(listed.map(({ upstreamId }) => store.findIdByUpstreamId(upstreamId)))
    return listed.filter((_, i) => owners[i] === null)
  }

  return createWorkerLoop<Job>({
    name: 'reconciler',
    logFields: ({ id, appId }: Job) => ({ prediction: id, app: appId }),
    claim: async limit => {
      const at = now()
      // The lease ends at once: the row stays due until it is settled, and blocks submits.
      const abandonedJobs = await store.claimAbandonedSubmits({
        now: at,
        leaseUntil: at,
        limit,
        thisProcess: { submittingIds },
      })
      if (abandonedJobs.length > 0) return abandonedJobs
      return store.claimUnresolvedSubmits({ now: at, leaseUntil: at + maxSearchMs + 15_000, limit })
    },
    perform: (job, signal) => (job.submission === 'begun' ? takeOver(job) : searchFor(job, signal)),
    capacity: CAPACITY,
    intervalMs: INTERVAL_MS,
    log,
  })
}
