/**
 * Chooses the next submits: one UPDATE … RETURNING takes the first rows in fair order and raises their fence.
 * Invariant: a row is `begun` on disk before its POST. The limits of the account and of the app are counted from the
 * rows themselves. The holds are read in the transaction of the claim.
 */
import {
  type AllowanceFacts,
  allowanceFactsNeeded,
  claimableCount,
} from '../../../domain/submit-allowance.ts'
import { allowsSubmits } from '../../../domain/submit-circuit.ts'
import { HOUR_MS } from '../../../domain/time.ts'
import type { QueueStore, SubmitClaim } from '../../store.ts'
import type { Db } from '../connection.ts'
import { inArray, lte, type SQL, sql } from '../drizzle.ts'
import { SUBMIT_STARTED, WAITING } from '../predicates.ts'
import { jsonValues, prepare } from '../prepare.ts'
import { toJob } from '../row-mapping.ts'
import { NEXT_VERSION } from '../row-version.ts'
import { predictions, submitAttempts, submitCircuit } from '../schema.ts'
import { APP_STATES, FAIR_ORDER, IS_OVER_APP_LIMIT } from './fair-order.ts'
import { IS_HELD } from './holds.ts'
import type { SubmitThrottle } from './submit-throttle.ts'

export function createSubmitClaims(db: Db, submitThrottle: SubmitThrottle): Pick<QueueStore, 'claimSubmits'> {
  const hasReady = prepare<number>(
    db,
    sql`select exists (
      select 1 from predictions
      where ${WAITING} and image_verified_at > @imageVerifiedAfter and due_at <= @now and not ${IS_HELD}
        and model not in ${jsonValues('@heldModels')}
    )`,
  ).pluck()
  const countStarted = prepare<Pick<AllowanceFacts, 'startedSubmits' | 'abandonedSubmits'>>(
    db,
    sql`select count(*) as startedSubmits, count(*) filter (where due_at <= @now) as abandonedSubmits
      from predictions where ${SUBMIT_STARTED}`,
  )
  const countAttempts = prepare<number>(
    db,
    sql`select count(*) from submit_attempts
      where submit_started_at > @after and submit_started_at <= @until`,
  ).pluck()

  /** Called under the write lock, so the facts stay true until the submits have begun. */
  function loadFacts(request: SubmitClaim): AllowanceFacts {
    const limit = submitThrottle.concurrencyLimit()
    const needed = allowanceFactsNeeded(request, limit)
    return {
      submitCircuit: submitThrottle.submitCircuit(),
      concurrencyLimit: limit,
      ...countStarted.get({ now: request.now })!,
      ...(needed.activeJobs && { activeJobs: submitThrottle.activeJobs() }),
      ...(needed.recentAttempts && { recentAttempts: countAttempts.get(needed.recentAttempts)! }),
    }
  }

  /**
   * Reads few rows, however long the queue: claim-image-checks.ts checks only so many images that about `readyTarget`
   * jobs are ready. Jobs that upstream refused lately come on top.
   */
  const selectNextIds = (
    { now, imageVerifiedAfter }: SubmitClaim,
    heldModels: string,
    retryRank: SQL,
    claimable: number,
  ) => sql`(
    with ${APP_STATES},
    ready as (
      select predictions.id, ${retryRank} as retry_rank, app_states.*,
        row_number() over (
          partition by predictions.app_id order by ${retryRank}, predictions.created_at, predictions.id
        ) as queue_index
      from predictions indexed by predictions_image_verified
        cross join app_states on app_states.app_id = predictions.app_id
      where ${WAITING} and image_verified_at > ${imageVerifiedAfter} and due_at <= ${now} and not ${IS_HELD}
        and model not in (select value from json_each(${heldModels}))
    )
    select id from ready where not ${IS_OVER_APP_LIMIT} order by retry_rank, ${FAIR_ORDER} limit ${claimable}
  )`

  return {
    async claimSubmits(request) {
      const { now, leaseUntil, imageVerifiedAfter } = request
      const heldModels = JSON.stringify([...(request.thisProcess?.heldModels ?? [])])
      // Most wake-ups have no row to send: they take no write lock and count nothing.
      if (
        hasReady.get({ imageVerifiedAfter, now, heldModels }) === 0 ||
        !allowsSubmits(submitThrottle.submitCircuit())
      )
        return []
      const claimed = db.transaction(
        tx => {
          const facts = loadFacts(request)
          const circuit = facts.submitCircuit
          const claimable = claimableCount(request, facts)
          if (claimable === 0) return []
          // A job that upstream refuses each time must not be every probe, nor the first submit after each.
          // After an hour it counts like any other, so that an endless queue of others can't starve it.
          const retryRank =
            circuit === null ? sql`(submit_attempts > 2 and due_at > ${now - HOUR_MS})` : sql`submit_attempts`
          const rows = tx
            .update(predictions)
            .set({
              ...NEXT_VERSION,
              fence: sql`${predictions.fence} + 1`,
              dueAt: leaseUntil,
              submission: 'begun',
              submitStartedAt: now,
              submitAttempts: sql`${predictions.submitAttempts} + 1`,
            })
            .where(inArray(predictions.id, selectNextIds(request, heldModels, retryRank, claimable)))
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
            .where(lte(submitAttempts.submitStartedAt, now - HOUR_MS))
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
