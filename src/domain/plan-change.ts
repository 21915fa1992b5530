/**
 * Plans the change of a prediction: whether it is legal, whether its app sees it, and all that is written. Pure.
 * Invariant: status, error and cost change together with an event, and never without one.
 */
import { startOfUtcMonth } from './app-limits.ts'
import { type ConcurrencyLimit, decreaseConcurrency, increaseConcurrency } from './concurrency-limit.ts'
import { countedJobMs } from './fair-queue.ts'
import { type ChangedFields, missingFact, type Plan, type PlannedWrite } from './plan.ts'
import {
  hasSlot,
  isLegalTransition,
  type Job,
  type StateChange,
  type Transition,
  toPredictionState,
} from './prediction.ts'
import { type CircuitTrip, openCircuit, type SubmitCircuit } from './submit-circuit.ts'

/** A fact that was not needed is missing. */
export interface ChangeFacts {
  submitCircuit?: SubmitCircuit | null
  concurrencyLimit?: ConcurrencyLimit | null
  /** Number of jobs of all apps that hold a slot, before the change. */
  activeJobs?: number
}

/**
 * The change that an observation makes. Null: the observation is old, or the row was claimed again since.
 * @param fence null: the observation is valid whatever the row's fence is
 */
export const findStateChange = (
  job: Job,
  transition: Transition,
  fence: number | null,
): StateChange | null => (fence !== null && job.fence !== fence ? null : transition(job))

export function changeFactsNeeded({
  submitCircuit,
  submission,
}: StateChange): Record<keyof ChangeFacts, boolean> {
  const isThrottled = submitCircuit?.reason === 'throttled'
  const isAccepted = submitCircuit === null && submission === 'accepted'
  return {
    submitCircuit: submitCircuit !== undefined,
    concurrencyLimit: isThrottled || isAccepted,
    activeJobs: isThrottled,
  }
}

/** Throws on an illegal transition. */
export function planChange(job: Job, stateChange: StateChange, facts: ChangeFacts, now: number): Plan<Job> {
  const { submitCircuit, ...rest } = stateChange
  const { status = job.status, error = job.error, cost = job.cost } = rest
  if (status !== job.status && !isLegalTransition(job.status, status, job.error))
    throw new Error(`illegal transition of ${job.id}: ${job.status} to ${status}`)
  const hasVisibleChange = status !== job.status || error !== job.error || cost !== job.cost
  const fields: ChangedFields = hasVisibleChange ? { ...rest, updatedAt: now } : rest
  const next: Job = { ...job, ...fields, version: job.version + 1 }

  const { id, appId, version } = job
  const writes: PlannedWrite[] = [{ kind: 'updatePrediction', id, version, fields }]
  if (hasSlot(job) && !hasSlot(next))
    writes.push({ kind: 'releaseSlot', appId, heldMs: countedJobMs(job.submitStartedAt, now) })
  if (fields.submitStartedAt === null)
    writes.push({ kind: 'deleteSubmitAttempt', predictionId: id, attempt: job.submitAttempts })
  if (submitCircuit) writes.push(...failedSubmitWrites(job, submitCircuit, facts, now))
  if (submitCircuit === null) writes.push(...answeredSubmitWrites(id, stateChange, facts))
  if (cost !== job.cost)
    writes.push({
      kind: 'addSpend',
      appId,
      month: startOfUtcMonth(job.createdAt),
      amount: cost - job.cost,
    })
  if (hasVisibleChange)
    writes.push({
      kind: 'insertEvent',
      event: {
        appId,
        predictionId: id,
        type: 'STATUS_CHANGED',
        previousStatus: job.status,
        occurredAt: now,
        state: toPredictionState(next),
      },
    })
  return { result: next, writes }
}

/** The circuit opens. If upstream has throttled the submit, the concurrency limit decreases. */
function failedSubmitWrites(job: Job, trip: CircuitTrip, facts: ChangeFacts, now: number): PlannedWrite[] {
  const current = facts.submitCircuit === undefined ? missingFact('submitCircuit') : facts.submitCircuit
  const open: PlannedWrite = { kind: 'openSubmitCircuit', circuit: openCircuit(current, trip, now) }
  if (trip.reason !== 'throttled') return [open]
  const limit =
    facts.concurrencyLimit === undefined ? missingFact('concurrencyLimit') : facts.concurrencyLimit
  const activeJobs = facts.activeJobs ?? missingFact('activeJobs')
  const withThisJob = hasSlot(job) ? activeJobs : activeJobs + 1
  const decreased = decreaseConcurrency(limit, job.submitStartedAt ?? now, withThisJob, now)
  return decreased === limit ? [open] : [open, { kind: 'setConcurrencyLimit', limit: decreased }]
}

/** Upstream answered normally. The circuit closes if this was its probe; the concurrency limit may rise. */
function answeredSubmitWrites(id: string, { submission }: StateChange, facts: ChangeFacts): PlannedWrite[] {
  const writes: PlannedWrite[] = []
  const circuit = facts.submitCircuit === undefined ? missingFact('submitCircuit') : facts.submitCircuit
  if (circuit?.probePredictionId === id) writes.push({ kind: 'closeSubmitCircuit', version: circuit.version })
  if (submission !== 'accepted') return writes
  const limit =
    facts.concurrencyLimit === undefined ? missingFact('concurrencyLimit') : facts.concurrencyLimit
  if (limit !== null) writes.push({ kind: 'setConcurrencyLimit', limit: increaseConcurrency(limit) })
  return writes
}
