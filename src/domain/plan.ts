/**
 * Plans: what a create or a change answers, and the writes that make the answer true. Pure.
 * Invariant: a plan is made from facts that the engine keeps locked until the plan is carried out, or whose change it
 * notices by a version. The engine carries out all writes of a plan in one commit, in order, or none of them.
 */
import type { ConcurrencyLimit } from './concurrency-limit.ts'
import type { Idempotency } from './idempotency.ts'
import type { Job, PredictionEvent, PredictionState, StateChange } from './prediction.ts'
import type { SubmitCircuit } from './submit-circuit.ts'

export interface Plan<Result> {
  result: Result
  /** Empty: nothing is written. */
  writes: readonly PlannedWrite[]
}

/** Fields of a job's row that a change sets. */
export type ChangedFields = Omit<StateChange, 'submitCircuit'> & Partial<Pick<PredictionState, 'updatedAt'>>

export type PlannedWrite =
  /** A new row, and one row for each of its tags. */
  | { kind: 'insertPrediction'; job: Job; idempotency: Idempotency | null }
  /** Fails if the row has another version; else raises the version. */
  | { kind: 'updatePrediction'; id: string; version: number; fields: ChangedFields }
  /** Clears the row's idempotency key. Fails if the row has another version; else raises the version. */
  | { kind: 'forgetIdempotencyKey'; id: string; version: number }
  /** Belongs to the insert or the update before it. */
  | { kind: 'insertEvent'; event: NewEvent }
  /** If the app has no waiting and no active job, its backlog starts: see virtual-time.ts. */
  | { kind: 'startBacklog'; appId: string; now: number }
  /** A job of the app has held a slot for `heldMs`: see virtual-time.ts. */
  | { kind: 'releaseSlot'; appId: string; heldMs: number }
  /** `month`: first moment of the UTC month. `amount`: micro-USD, negative for a refund. */
  | { kind: 'addSpend'; appId: string; month: number; amount: number }
  | { kind: 'deleteSubmitAttempt'; predictionId: string; attempt: number }
  /** Replaces the circuit. The engine gives it a version that no circuit had before. */
  | { kind: 'openSubmitCircuit'; circuit: Omit<SubmitCircuit, 'version'> }
  | { kind: 'closeSubmitCircuit'; version: number }
  /** Null: the configured limit applies. */
  | { kind: 'setConcurrencyLimit'; limit: ConcurrencyLimit | null }

export interface NewEvent extends Pick<PredictionEvent, 'type' | 'previousStatus' | 'occurredAt'> {
  appId: string
  predictionId: string
  state: PredictionState
}

/** Throws: a needed fact is missing. Either it was not declared, or the engine did not load it. */
export function missingFact(name: string): never {
  throw new Error(`the fact ${name} was not loaded`)
}
