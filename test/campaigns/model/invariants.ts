/**
 * Invariants that hold between any two steps, and the final state, in which the row and the upstream ledger agree.
 */
import { expect } from 'vitest'
import { isFinal, type Job } from '../../../src/domain/prediction.ts'
import { eventsOf, jobOf, PRICE } from '../../support/store.ts'
import { DAY_MS, describeState, END_NAMES, ENDS, EXPECTED_ENDS, type ModelRow } from './model.ts'
import type { ModelState } from './model-state.ts'

export const isWaiting = (job: Job) => job.status === 'QUEUED' && job.submission === 'none'
/** Some worker has to work on it, now or later. */
export const needsWork = (job: Job) => isWaiting(job) || job.submission === 'begun' || job.tracking !== null

export function createInvariants(state: ModelState) {
  const { store, app, rows, upstreamJobs, upstreamJobOf, readJobs, assertSlotCount } = state

  /** Asserts what must hold between two steps. */
  async function assertInvariants(): Promise<void> {
    if (rows.some(row => row.occupiesSlot && row.canceled !== null)) await assertSlotCount()
    for (const [i, job] of (await readJobs()).entries()) {
      const row = rows[i]!
      const description = describeState(job)
      if (row.observedStates.at(-1) !== description) row.observedStates.push(description)
      const occupiesSlot = job.submission === 'begun' || job.tracking === 'active'
      expect(occupiesSlot, 'it occupies a slot').toBe(row.occupiesSlot)
      const upstreamJob = upstreamJobOf(row)
      if (row.canceled !== null) expect(job.status).toBe('CANCELED')
      if (row.canceled === 'free') expect(job).toMatchObject({ cost: 0, submission: 'none', tracking: null })
      if (job.upstreamId !== null) expect(job.upstreamId, 'the id of another job').toBe(upstreamJob?.id)
      if (job.cost === 0 && upstreamJob !== undefined) expect(upstreamJob.outcome).toBe(ENDS.failed)
      // A row with work left is always due within a day.
      if (needsWork(job)) expect(job.dueAt, 'stuck').toBeLessThanOrEqual(state.now + DAY_MS)
      else expect(isFinal(job.status), 'no work is left, and it has not ended').toBe(true)
    }
  }

  /**
   * Asserts that the final row agrees with the upstream ledger. Returns the history of states that the app saw.
   */
  async function assertFinalState(row: ModelRow): Promise<string> {
    const { status, error, cost, upstreamId, tracking } = await jobOf(store, row.id)
    const ownJobs = upstreamJobs.filter(upstreamJob => upstreamJob.row === row)
    expect(ownJobs.length, 'charged twice').toBeLessThanOrEqual(1)
    expect(tracking).toBeNull()
    const actual = [status, error, cost]
    if (row.canceled !== null) {
      const isFree = row.canceled === 'free' || row.claims === row.refusals
      expect(actual).toEqual(['CANCELED', null, isFree ? 0 : PRICE])
    } else if (upstreamId !== null) {
      const end = END_NAMES.find(name => ENDS[name] === ownJobs[0]!.outcome)!
      expect(actual).toEqual(EXPECTED_ENDS[end])
    } else if (row.claims > row.refusals) expect(actual).toEqual(['FAILED', 'SUBMISSION_UNKNOWN', PRICE])
    else if (row.postAnswers.includes('rejected')) expect(actual).toEqual(['FAILED', 'INVALID_INPUT', 0])
    else
      expect([
        ['FAILED', 'INVALID_INPUT', 0],
        ['FAILED', 'IMAGE_UNREACHABLE', 0],
      ]).toContainEqual(actual)

    const events = (await eventsOf(store, app)).filter(({ prediction }) => prediction.id === row.id)
    const reportedStates = events.map(({ prediction: { status, error, cost } }) => ({ status, error, cost }))
    expect(reportedStates[0]).toEqual({ status: 'QUEUED', error: null, cost: PRICE })
    expect(reportedStates.at(-1)).toEqual({ status, error, cost })
    for (const [i, { previousStatus }] of events.entries()) {
      expect(previousStatus).toBe(i === 0 ? null : reportedStates[i - 1]!.status)
      if (i === 0 || !isFinal(reportedStates[i - 1]!.status)) continue
      // The end was reported. A later event may only correct a provisional error, or say that nothing was sent.
      const [previous, next] = [reportedStates[i - 1]!, reportedStates[i]!]
      if (previous.status === 'CANCELED') {
        expect(previous.cost).toBe(PRICE)
        expect(next).toEqual({ ...previous, cost: 0 })
      } else {
        expect(['SUBMISSION_UNKNOWN', 'TIMED_OUT']).toContain(previous.error)
        expect(next).not.toEqual(previous)
        expect(isFinal(next.status)).toBe(true)
      }
    }
    const descriptions = events.map(({ prediction }) => describeState(prediction))
    // Each state has one event, and there is no event without a change.
    expect(descriptions).toEqual(row.observedStates)
    return descriptions.join(', ')
  }

  return { assertInvariants, assertFinalState }
}
