/**
 * Steps of recovery: the reconciler searches for a POST without an answer, and the probe half-opens the submit
 * circuit.
 * Invariant: between two store queries another worker may change the result of the first.
 */

import type { Job } from '../../../src/domain/prediction.ts'
import { notListedUpstream, submitAbandoned, submitAccepted } from '../../../src/domain/transitions.ts'
import { searchWindow } from '../../../src/workers/reconcile-schedule.ts'
import { HOUR, MINUTE, SECOND } from '../../support/store.ts'
import { DAY_MS, SUBMIT_TIMEOUT_MS, type UpstreamJob } from './model.ts'
import type { ModelState } from './model-state.ts'

const SUBMIT_UNKNOWN_AFTER_MS = 10 * MINUTE

export function createReconcileActions(state: ModelState) {
  const { store, rowOf, upstreamJobs, pendingTasks, lease, addTask } = state

  async function reconcile(): Promise<void> {
    const liveSubmits = [...pendingTasks].filter(
      ({ isAlive, name }) => isAlive && name.startsWith('submitter'),
    )
    const submittingIds = liveSubmits.map(({ job }) => job!.id)
    const [abandonedJob] = await store.claimAbandonedSubmits({
      now: state.now,
      leaseUntil: state.now,
      limit: 1,
      thisProcess: { submittingIds },
    })
    if (abandonedJob !== undefined) {
      const row = rowOf(abandonedJob)
      const to = searchWindow(abandonedJob.submitStartedAt!, SUBMIT_TIMEOUT_MS).to
      const takeOver = async () => {
        await store.change(abandonedJob.id, submitAbandoned(state.now, to), state.now, abandonedJob.fence)
      }
      return addTask(`reconciler ${row.name} abandoned`, abandonedJob, [['takes over', takeOver]])
    }
    const [job] = await store.claimUnresolvedSubmits(lease())
    if (job !== undefined) search(job)
  }

  /** Queries in the reconciler's order: the list, conflicting submits, owners. */
  function search(job: Job): void {
    const { name } = rowOf(job)
    const { from, to, conflictWindowMs } = searchWindow(job.submitStartedAt!, SUBMIT_TIMEOUT_MS)
    /** @param found null if the list could not be read */
    const finishSearch = (label: string, found: UpstreamJob[] | null, hasNoConflict = true) =>
      addTask(`reconciler ${name} ${label}`, job, [['writes', () => conclude(job, found, hasNoConflict)]])
    const list = async () => {
      if (state.now < to) return finishSearch('too early', null)
      const listed = upstreamJobs.filter(
        upstreamJob => upstreamJob.submittedAt >= from && upstreamJob.submittedAt <= to,
      )
      const checkConflicts = async () => {
        const hasNoConflict = !(await store.hasConflictingSubmit(
          job,
          job.submitStartedAt! - conflictWindowMs,
          job.submitStartedAt! + conflictWindowMs,
        ))
        finishSearch(`${hasNoConflict ? 'alone' : 'not alone'} ${listed.length}`, listed, hasNoConflict)
      }
      addTask(`reconciler ${name} listed ${listed.length}`, job, [['checks for conflicts', checkConflicts]])
    }
    addTask(`reconciler ${name}`, job, [
      ['lists', list],
      ['gets no list', async () => finishSearch('nothing', null)],
    ])
  }

  async function conclude(job: Job, listed: UpstreamJob[] | null, hasNoConflict: boolean): Promise<void> {
    const unowned: UpstreamJob[] = []
    for (const upstreamJob of listed ?? [])
      if ((await store.findIdByUpstreamId(upstreamJob.id)) === null) unowned.push(upstreamJob)
    const [match, secondMatch] = unowned
    if (match !== undefined && secondMatch === undefined && hasNoConflict) {
      const changed = await store.change(job.id, submitAccepted(match.id, state.now), state.now, job.fence)
      if (changed !== null) rowOf(job).occupiesSlot = true
      return
    }
    const { to } = searchWindow(job.submitStartedAt!, SUBMIT_TIMEOUT_MS)
    const nextSearchAt = state.now < to ? to : state.now + (state.now < to + HOUR ? 5 * MINUTE : DAY_MS)
    const isAbsent = listed !== null && match === undefined
    const transition = notListedUpstream(
      { now: state.now, nextSearchAt, submitUnknownAfterMs: SUBMIT_UNKNOWN_AFTER_MS },
      isAbsent,
    )
    const changed = await store.change(job.id, transition, state.now, job.fence)
    if (changed !== null && (isAbsent || state.now - job.submitStartedAt! >= SUBMIT_UNKNOWN_AFTER_MS))
      rowOf(job).occupiesSlot = false
  }

  async function probeCircuit(): Promise<void> {
    const circuit = await store.claimCircuitProbe(state.now, () => state.now + SECOND)
    if (circuit !== null)
      addTask('probe', null, [['reads', async () => void (await store.halfOpenCircuit(circuit.version))]])
  }

  return { reconcile, probeCircuit }
}
