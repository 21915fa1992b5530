/**
 * The submit circuit and the concurrency limit. Both change in the transaction that records the answer to a POST.
 */
import {
  type ConcurrencyLimit,
  decreaseConcurrency,
  increaseConcurrency,
} from '../../../domain/concurrency-limit.ts'
import { type CircuitTrip, openCircuit, type SubmitCircuit } from '../../../domain/submit-circuit.ts'
import type { Db } from '../connection.ts'
import { sql } from '../drizzle.ts'
import { IN_FLIGHT, SUBMIT_STARTED } from '../predicates.ts'
import { prepare } from '../prepare.ts'
import { concurrencyLimit, submitCircuit } from '../schema.ts'

export interface SubmitThrottle {
  submitCircuit(): SubmitCircuit | null
  concurrencyLimit(): ConcurrencyLimit | null
  /** Number of jobs that hold a slot of the account. */
  activeJobs(): number
  /** @param submitStartedAt start of the POST that failed */
  recordFailure(next: CircuitTrip, submitStartedAt: number, now: number): void
  /** Upstream answered the POST of this job. Closes the circuit if the job was its probe; may raise the limit. */
  recordAnswer(id: string, isAccepted: boolean): void
}

export function createSubmitThrottle(db: Db): SubmitThrottle {
  const selectCircuit = prepare<Omit<SubmitCircuit, 'halfOpen'> & { halfOpen: number }>(
    db,
    sql`
    select version, reason, since, until, half_open as halfOpen, probe_prediction_id as probePredictionId,
      failures
    from submit_circuit`,
  )
  const selectLimit = prepare<ConcurrencyLimit>(
    db,
    sql`select concurrency, ceiling, accepted, since from concurrency_limit`,
  )
  const countActiveJobs = prepare<number>(
    db,
    sql`
    select (select count(*) from predictions where ${SUBMIT_STARTED})
      + (select count(*) from predictions where ${IN_FLIGHT})`,
  ).pluck()
  const closeCircuit = prepare(db, sql`delete from submit_circuit where probe_prediction_id = @id`)

  const readCircuit = () => {
    const row = selectCircuit.get()
    return row === undefined ? null : { ...row, halfOpen: row.halfOpen === 1 }
  }
  const readLimit = () => selectLimit.get() ?? null

  function saveLimit(next: ConcurrencyLimit | null): void {
    db.delete(concurrencyLimit).run()
    if (next !== null)
      db.insert(concurrencyLimit)
        .values({ singleton: 1, ...next })
        .run()
  }

  return {
    submitCircuit: readCircuit,
    concurrencyLimit: readLimit,
    activeJobs: () => countActiveJobs.get()!,

    recordFailure(next, submitStartedAt, now) {
      const circuit = readCircuit()
      db.delete(submitCircuit).run()
      db.insert(submitCircuit)
        .values(openCircuit(circuit, next, now))
        .run()
      if (next.reason === 'throttled')
        saveLimit(decreaseConcurrency(readLimit(), submitStartedAt, countActiveJobs.get()! + 1, now))
    },

    recordAnswer(id, isAccepted) {
      closeCircuit.run({ id })
      const limit = isAccepted ? readLimit() : null
      if (limit !== null) saveLimit(increaseConcurrency(limit))
    },
  }
}
