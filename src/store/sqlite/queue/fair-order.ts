/**
 * The fair queue in SQL (the rules: domain/fair-queue.ts and domain/virtual-time.ts).
 * Invariant: an app's `virtual_time` changes when a job releases its slot and when the app's backlog starts, in that
 * transaction, and never when a slot is taken.
 */

import type { Statement } from 'better-sqlite3'
import { type AppQueueState, JOB_TIME_SCALE_MS, MAX_CREDIT_MS } from '../../../domain/fair-queue.ts'
import type { Db } from '../connection.ts'
import { sql } from '../drizzle.ts'
import { IN_FLIGHT, SUBMIT_STARTED, WAITING } from '../predicates.ts'
import { prepare } from '../prepare.ts'

const HAS_ACTIVE_JOBS = sql`(exists (select 1 from predictions where app_id = apps.id and ${IN_FLIGHT})
  or exists (
    select 1 from predictions indexed by predictions_submit_started where app_id = apps.id and ${SUBMIT_STARTED}
  ))`
const HAS_WAITING_JOBS = sql`exists (select 1 from predictions where app_id = apps.id and ${WAITING})`

/** CTEs. `active_apps`: apps with a waiting or active job. `mean`: their mean virtual time. */
const MEAN_VIRTUAL_TIME = sql`
  submit_started (app_id, jobs) as materialized (
    select app_id, count(*) from predictions indexed by predictions_submit_started where ${SUBMIT_STARTED} group by app_id
  ),
  active_apps as materialized (
    select apps.id as app_id, weight, virtual_time, backlog_started_at, is_newly_active, max_in_flight,
      coalesce(submit_started.jobs, 0) as submit_started_jobs
    from apps left join submit_started on submit_started.app_id = apps.id
    where submit_started.jobs > 0 or ${HAS_WAITING_JOBS}
      or exists (select 1 from predictions where app_id = apps.id and ${IN_FLIGHT})
  ),
  mean (virtual_time) as materialized (select sum(weight * virtual_time) / sum(weight) from active_apps)`

/** Active jobs of an app. Counted only if needed: it takes 0.5 ms with 10,000 in flight. */
const ACTIVE_COUNT = sql`(submit_started_jobs
  + (select count(*) from predictions where app_id = active_apps.app_id and ${IN_FLIGHT}))`

/** Adds `app_states`: the inputs of the fairness key. */
export const APP_STATES = sql`${MEAN_VIRTUAL_TIME},
  app_states as materialized (
    select active_apps.app_id, weight, active_apps.virtual_time, backlog_started_at, is_newly_active,
      ${ACTIVE_COUNT} as active_jobs, coalesce(max_in_flight, 9007199254740991) as max_active,
      min(1.0, max(0.0, 0.5
        + (active_apps.virtual_time - mean.virtual_time) * weight / ${JOB_TIME_SCALE_MS})) as bias
    from active_apps cross join mean
  )`

/** Needs the columns of `app_states` and `queue_index`. */
export const FAIR_ORDER = sql`iif(is_newly_active and active_jobs = 0 and queue_index = 1, 0,
  (active_jobs + queue_index - 1 + bias) / weight), virtual_time, backlog_started_at, app_id, queue_index`
export const IS_OVER_APP_LIMIT = sql`active_jobs + queue_index > max_active`

export interface FairOrder {
  /** Call it before a row is inserted. Changes nothing if the app has a waiting or active job. */
  startBacklog: Statement<[{ appId: string; now: number }]>
  /** Call it after the row has released its slot: charges the time to the app and caps the credit of every app. */
  releaseSlot(appId: string, heldMs: number): void
  appStates(): AppQueueState[]
}

export function createFairOrder(db: Db): FairOrder {
  const startBacklog = prepare(
    db,
    sql`
    with ${MEAN_VIRTUAL_TIME}
    update apps set
      backlog_started_at = @now,
      is_newly_active = apps.virtual_time <= coalesce((select virtual_time from mean), apps.virtual_time),
      virtual_time = coalesce(
        (
          select min(
            max(apps.virtual_time, mean.virtual_time), mean.virtual_time + ${MAX_CREDIT_MS} * 1.0 / weight
          ) from mean
        ),
        (select max(virtual_time) from apps)
      )
    where id = @appId and not ${HAS_WAITING_JOBS} and not ${HAS_ACTIVE_JOBS}`,
  )
  const addJobTime = prepare(
    db,
    sql`update apps set virtual_time = virtual_time + @ms * 1.0 / weight, is_newly_active = 0
      where id = @appId`,
  )
  // An app held back by its own limit gets no credit.
  const capCredit = prepare(
    db,
    sql`
    with ${MEAN_VIRTUAL_TIME},
    min_virtual_time (app_id, virtual_time) as materialized (
      select app_id, mean.virtual_time - iif(
        max_in_flight is not null and ${ACTIVE_COUNT} >= max_in_flight, 0, ${MAX_CREDIT_MS} * 1.0 / weight
      ) from active_apps cross join mean
    )
    update apps set virtual_time = min_virtual_time.virtual_time from min_virtual_time
    where min_virtual_time.app_id = apps.id and apps.virtual_time < min_virtual_time.virtual_time`,
  )
  const selectAppStates = prepare<AppQueueState>(
    db,
    sql`
    with ${APP_STATES}
    select app_id as appId, weight, active_jobs as activeJobs, max_active as maxActive, bias,
      virtual_time as virtualTime, backlog_started_at as backlogStartedAt, is_newly_active as isNewlyActive,
      (select count(*) from predictions where app_id = app_states.app_id and ${WAITING}) as waitingJobs
    from app_states`,
  )

  return {
    startBacklog,
    releaseSlot(appId, heldMs) {
      addJobTime.run({ appId, ms: heldMs })
      capCredit.run()
    },
    appStates: () => selectAppStates.all(),
  }
}
