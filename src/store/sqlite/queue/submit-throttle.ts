/**
 * The rows of the submit circuit and the concurrency limit. Both change in the transaction that records the answer to a
 * POST.
 */
import type { ConcurrencyLimit } from '../../../domain/concurrency-limit.ts'
import type { SubmitCircuit } from '../../../domain/submit-circuit.ts'
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
  /** Replaces the circuit. */
  openCircuit(circuit: Omit<SubmitCircuit, 'version'>): void
  closeCircuit(version: number): void
  setLimit(limit: ConcurrencyLimit | null): void
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
  const closeCircuit = prepare(db, sql`delete from submit_circuit where version = @version`)

  return {
    submitCircuit() {
      const row = selectCircuit.get()
      return row === undefined ? null : { ...row, halfOpen: row.halfOpen === 1 }
    },
    concurrencyLimit: () => selectLimit.get() ?? null,
    activeJobs: () => countActiveJobs.get()!,

    openCircuit(circuit) {
      db.delete(submitCircuit).run()
      db.insert(submitCircuit).values(circuit).run()
    },
    closeCircuit: version => void closeCircuit.run({ version }),

    setLimit(limit) {
      db.delete(concurrencyLimit).run()
      if (limit !== null)
        db.insert(concurrencyLimit)
          .values({ singleton: 1, ...limit })
          .run()
    },
  }
}
