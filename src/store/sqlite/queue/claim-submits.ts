/**
 * Who is sent next, in SQLite: one UPDATE … RETURNING takes the first rows of the queue's order and raises their fence.
 * Invariant: a row is `begun` on disk before its POST, and never more rows are begun than the account's limits and its
 * app's allow, counted from the rows themselves.
 */
import type { SubmitCircuit } from '../../../domain/submit-circuit.ts'
import type { QueueStore, SubmitClaim } from '../../store.ts'
import type { Db } from '../connection.ts'
import { and, count, gt, inArray, lte, type SQL, sql } from '../drizzle.ts'
import { SUBMIT_STARTED, WAITING } from '../predicates.ts'
import { prepare } from '../prepare.ts'
import { toJob } from '../row-mapping.ts'
import { predictions, submitAttempts, submitCircuit } from '../schema.ts'
import { APP_STATES, FAIR_ORDER, IS_OVER_APP_LIMIT } from './fair-order.ts'
import type { SubmitThrottle } from './submit-throttle.ts'

const MINUTE = 60 * 1000
const HOUR = 60 * MINUTE

export function createSubmitClaims(db: Db, submitThrottle: SubmitThrottle): Pick<QueueStore, 'claimSubmits'> {
  const hasReady = prepare<number>(
    db,
    sql`select exists (
      select 1 from predictions where ${WAITING} and image_verified_at > @imageVerifiedAfter and due_at <= @now
    )`,
  ).pluck()
  const countStarted = prepare<number>(
    db,
    sql`select count(*) from predictions where ${SUBMIT_STARTED}`,
  ).pluck()
  const hasAbandoned = prepare<number>(
    db,
    sql`select exists (select 1 from predictions where ${SUBMIT_STARTED} and due_at <= @now)`,
  ).pluck()

  /** How many may be begun now. Asked under the write lock, so it stays true until they are. */
  function claimableCount(
    { now, limit, upstreamConcurrency, upstreamSubmitsPerMinute }: SubmitClaim,
    circuit: SubmitCircuit | null,
  ): number {
    const startedCount = countStarted.get()!
    // An abandoned row is an unknown that is not yet settled: nothing is sent before it is.
    if (startedCount > 0 && hasAbandoned.get({ now }) === 1) return 0
    // On trial: one, and only when nobody else's is under way.
    const circuitAllowance = circuit === null ? limit : circuit.halfOpen ? 1 - startedCount : 0
    const maxActive = Math.min(
      upstreamConcurrency ?? Infinity,
      submitThrottle.concurrencyLimit()?.concurrency ?? Infinity,
    )
    const freeSlots = maxActive === Infinity ? limit : maxActive - submitThrottle.activeJobs()
    // A post ahead of the clock was made before the clock was put back.
    const isWithinLastMinute = and(
      gt(submitAttempts.submitStartedAt, now - MINUTE),
      lte(submitAttempts.submitStartedAt, now + MINUTE),
    )
    const rateAllowance =
      upstreamSubmitsPerMinute === null
        ? limit
        : upstreamSubmitsPerMinute -
          db.select({ n: count() }).from(submitAttempts).where(isWithinLastMinute).get()!.n
    return Math.max(0, Math.min(limit, circuitAllowance, freeSlots, rateAllowance))
  }

  /** What is ready is little, however long the queue: no more than the stock of seen images and what was refused lately. */
  const selectNextIds = ({ now, imageVerifiedAfter }: SubmitClaim, isLast: SQL, claimable: number) => sql`(
    with ${APP_STATES},
    ready as (
      select predictions.id, ${isLast} as is_last, app_states.*,
        row_number() over (
          partition by predictions.app_id order by ${isLast}, predictions.created_at, predictions.id
        ) as queue_index
      from predictions indexed by predictions_image_verified
        cross join app_states on app_states.app_id = predictions.app_id
      where ${WAITING} and image_verified_at > ${imageVerifiedAfter} and due_at <= ${now}
    )
    select id from ready where not ${IS_OVER_APP_LIMIT} order by is_last, ${FAIR_ORDER} limit ${claimable}
  )`

  return {
    async claimSubmits(request) {
      const { now, leaseUntil, imageVerifiedAfter } = request
      // Most rings are not about a row that could be sent: no write lock, and nothing counted, for those.
      if (
        hasReady.get({ imageVerifiedAfter, now }) === 0 ||
        submitThrottle.submitCircuit()?.halfOpen === false
      )
        return []
      const claimed = db.transaction(
        tx => {
          const circuit = submitThrottle.submitCircuit()
          const claimable = claimableCount(request, circuit)
          if (claimable === 0) return []
          // A job that upstream alone refuses must not be every trial's, nor the first after each.
          // Once rested for an hour it goes like any other, or an endless queue of others' would be before it.
          const isLast =
            circuit === null ? sql`(submit_attempts > 2 and due_at > ${now - HOUR})` : sql`submit_attempts`
          const rows = tx
            .update(predictions)
            .set({
              fence: sql`${predictions.fence} + 1`,
              dueAt: leaseUntil,
              submission: 'begun',
              submitStartedAt: now,
              submitAttempts: sql`${predictions.submitAttempts} + 1`,
            })
            .where(inArray(predictions.id, selectNextIds(request, isLast, claimable)))
            .returning()
            .all()
          if (rows.length === 0) return []
          const startedAttempts = rows.map(({ id, submitAttempts: attempt }) => ({
            predictionId: id,
            attempt,
            submitStartedAt: now,
          }))
          tx.insert(submitAttempts).values(startedAttempts).run()
          tx.delete(submitAttempts)
            .where(lte(submitAttempts.submitStartedAt, now - HOUR))
            .run()
          if (circuit !== null) tx.update(submitCircuit).set({ probePredictionId: rows[0]!.id }).run()
          return rows
        },
        { behavior: 'immediate' },
      )
      return claimed.map(toJob).sort((a, b) => a.createdAt - b.createdAt || (a.id < b.id ? -1 : 1))
    },
  }
}
