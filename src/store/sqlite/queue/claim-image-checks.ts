/**
 * Chooses the next image checks: those of the jobs that will be submitted first.
 * Invariant: only the first `readyTarget` jobs of the fair order count, so the waiting or ready jobs of one app never
 * block another app's. Held jobs count as neither: a host that fails meanwhile would end them.
 */
import { allowsSubmits } from '../../../domain/submit-circuit.ts'
import type { QueueStore } from '../../store.ts'
import type { Db } from '../connection.ts'
import { type SQL, sql } from '../drizzle.ts'
import { IS_IMAGE_RETRY, WAITING } from '../predicates.ts'
import { jsonValues, prepare } from '../prepare.ts'
import { ALL_COLUMNS, decodeJsonColumns, type PredictionRow, type SqliteRow, toJob } from '../row-mapping.ts'
import { APP_STATES, FAIR_ORDER, IS_OVER_APP_LIMIT } from './fair-order.ts'
import { createSelectHeldApps, IS_HELD } from './holds.ts'
import type { SubmitThrottle } from './submit-throttle.ts'

const IS_OF_INCLUDED_APP = sql`app_id not in ${jsonValues('@excludedApps')}`
/** The rows of a held model neither need a check nor count as ready: they would take the places of the others. */
const IS_NOT_HELD = sql`model not in ${jsonValues('@heldModels')} and not ${IS_HELD}`
const IS_DUE = sql`${IS_NOT_HELD} and ${WAITING} and due_at <= @now
  and (image_verified_at is null or image_verified_at <= @imageVerifiedAfter)`

/** No app needs more than `readyTarget` rows of either half of the index (first checks, retries), which is in order. */
const dueImageChecks = (isRetry: SQL) => sql`
  select 1 as needs_check, predictions.id, app_id, created_at, image_check_failures
  from (select app_id as candidate_app_id from app_states where ${IS_OF_INCLUDED_APP}) cross join predictions
  where predictions.rowid in (
    select rowid from predictions indexed by predictions_waiting
    where app_id = candidate_app_id and ${IS_DUE} and (${IS_IMAGE_RETRY}) = ${isRetry} and not ${IS_HELD}
    order by created_at, id limit @readyTarget
  )`

// A job that upstream has refused does not count as ready: the next circuit probe may have to be another job.
const NEXT_IMAGE_CHECKS = sql`
  with ${APP_STATES},
  candidates as (
    select 0 as needs_check, id, app_id, created_at, image_check_failures
    from predictions indexed by predictions_image_verified
    where ${WAITING} and ${IS_NOT_HELD} and image_verified_at > @imageVerifiedAfter and submit_attempts = 0
    union all ${dueImageChecks(sql`0`)}
    union all ${dueImageChecks(sql`1`)}
  ),
  -- First checks come before retries: image hosts that hang delay only their own jobs.
  ranked_in_app as (
    select id, needs_check, app_states.*, row_number() over (
      partition by candidates.app_id order by ${IS_IMAGE_RETRY}, created_at, id
    ) as queue_index
    from candidates cross join app_states on app_states.app_id = candidates.app_id
  ),
  ranked as (
    select id, needs_check, row_number() over (order by ${IS_OVER_APP_LIMIT}, ${FAIR_ORDER}) as position
    from ranked_in_app
  )
  select id from ranked where needs_check and position <= @readyTarget order by position limit @limit`

export function createImageCheckClaims(
  db: Db,
  submitThrottle: Pick<SubmitThrottle, 'submitCircuit'>,
): Pick<QueueStore, 'claimImageChecks'> {
  const selectHeldApps = createSelectHeldApps(db)
  const hasDue = prepare<number>(
    db,
    sql`select exists (
      select 1 from predictions where ${IS_DUE} and ${IS_OF_INCLUDED_APP} and not ${IS_HELD}
    )`,
  ).pluck()
  const selectNextIds = prepare<string>(db, NEXT_IMAGE_CHECKS).pluck()
  const claim = prepare<SqliteRow<PredictionRow>>(
    db,
    sql`update predictions set version = version + 1, fence = fence + 1, due_at = @leaseUntil
      where id in ${jsonValues('@ids')} and ${IS_DUE}
      returning ${ALL_COLUMNS}`,
  )

  return {
    async claimImageChecks({ now, leaseUntil, limit, imageVerifiedAfter, readyTarget, thisProcess }) {
      const heldApps = selectHeldApps()
      if (heldApps === 'all') return []
      const excludedApps = JSON.stringify([...heldApps, ...(thisProcess?.busyApps ?? [])])
      const heldModels = JSON.stringify([...(thisProcess?.heldModels ?? [])])
      const circuit = submitThrottle.submitCircuit()
      // While the circuit is open, verified images are not checked again: a host that fails meanwhile would end the job.
      const verifiedSince = allowsSubmits(circuit) ? imageVerifiedAfter : 0
      const due = { now, imageVerifiedAfter: verifiedSince, excludedApps, heldModels }
      if (hasDue.get(due) === 0) return []
      // Most wake-ups find enough verified images: they take no write lock.
      const ids = selectNextIds.all({ ...due, readyTarget, limit })
      if (ids.length === 0) return []
      return claim
        .all({ now, imageVerifiedAfter: verifiedSince, heldModels, leaseUntil, ids: JSON.stringify(ids) })
        .map(row => toJob(decodeJsonColumns(row)))
    },
  }
}
