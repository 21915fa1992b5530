/**
 * Usage of an app, as it is reported to clients, and its monthly spend.
 * Invariant: a read of a restricted token's usage reads few rows, or is repeated rarely. A queue of 50,000 jobs and a
 * month of 300,000 would otherwise be read for each request.
 */
import { performance } from 'node:perf_hooks'
import { setImmediate } from 'node:timers/promises'
import type { Statement } from 'better-sqlite3'
import { LRUCache } from 'lru-cache'
import type { Scope } from '../../domain/access-scope.ts'
import { startOfUtcMonth } from '../../domain/app-limits.ts'
import { DAY_MS } from '../../domain/time.ts'
import type { AppStore, AppUsage } from '../store.ts'
import type { Db } from './connection.ts'
import { type SQL, sql } from './drizzle.ts'
import {
  HAS_RESTRICTION,
  IN_FLIGHT,
  IS_IMAGE_RETRY,
  SUBMIT_STARTED,
  UNRESOLVED,
  WAITING,
} from './predicates.ts'
import { jsonValues, prepare } from './prepare.ts'
import { scopeParameters, VISIBLE } from './visibility.ts'

/** The longest month. The first moment of a month plus this time lies in the next month. */
const MAX_MONTH_MS = 31 * DAY_MS
/** Rows that are read for each request, about 1 ms. */
const MAX_ROWS = 1000
/** A usage that took longer to read is kept for so many times as long: it takes at most a twentieth of the time. */
const REUSE_FACTOR = 20
const MAX_KEPT = 1000

export function createAppUsage(db: Db, monthlySpend: Pick<MonthlySpend, 'spentIn'>): AppStore['usage'] {
  const reads = prepareUsageReads(db)
  /** Only usages of many rows, by app, restriction and month. */
  const kept = new LRUCache<string, Promise<AppUsage>>({ max: MAX_KEPT })

  async function readMany(scope: Scope, month: number): Promise<AppUsage> {
    const { inFlight, queued } = reads.jobCounts(scope)
    let spent = 0
    const end = startOfUtcMonth(month + MAX_MONTH_MS)
    for (let since = month; since < end; since += DAY_MS) {
      await setImmediate()
      spent += reads.spentBetween(scope, since, Math.min(since + DAY_MS, end))
    }
    return { inFlight, queued, spent }
  }

  function keepMany(key: string, usage: Promise<AppUsage>): Promise<AppUsage> {
    const startedAt = performance.now()
    kept.set(key, usage)
    usage.then(
      () => kept.set(key, usage, { ttl: Math.max(1, REUSE_FACTOR * (performance.now() - startedAt)) }),
      () => kept.delete(key),
    )
    return usage
  }

  return async (scope, now) => {
    const month = startOfUtcMonth(now)
    const { appId, restriction } = scope
    if (restriction === null) return { ...reads.jobCounts(scope), spent: monthlySpend.spentIn(appId, month) }
    const key = `${appId} ${restriction.key} ${month}`
    const recent = kept.get(key)
    if (recent !== undefined) return recent
    const end = startOfUtcMonth(month + MAX_MONTH_MS)
    const oldestWaiting = reads.oldestWaiting(scope)
    const isQueueShort = reads.hasFewWaiting(scope)
    if (!reads.hasFewSince(scope, month, end) || (!isQueueShort && !reads.hasFewSince(scope, oldestWaiting)))
      return keepMany(key, readMany(scope, month))
    const { inFlight, queued } = isQueueShort
      ? reads.jobCounts(scope)
      : { inFlight: reads.inFlight(scope), queued: reads.waitingSince(scope, oldestWaiting) }
    return { inFlight, queued, spent: reads.spentBetween(scope, month, end) }
  }
}

/** The reads of which a usage consists. Times are bounds of `created_at`. */
function prepareUsageReads(db: Db) {
  /** Names the index, because the planner would choose the index of all rows of the app. */
  const countVisible = (where: SQL, index: SQL) =>
    sql`(select count(*) from predictions indexed by ${index} where ${where} and ${VISIBLE})`
  const isUnresolvedPending = sql`${UNRESOLVED} and status = 'QUEUED' and tracking = 'expired'`
  const inFlight = sql`${countVisible(SUBMIT_STARTED, sql`predictions_submit_started`)}
        + ${countVisible(IN_FLIGHT, sql`predictions_in_flight`)}
        + ${countVisible(isUnresolvedPending, sql`predictions_unresolved`)}`
  const selectJobCounts = prepare<Omit<AppUsage, 'spent'>>(
    db,
    sql`select ${inFlight} as inFlight, ${countVisible(WAITING, sql`predictions_waiting`)} as queued`,
  )
  const selectInFlight = prepare<number>(db, sql`select ${inFlight}`).pluck()
  const ofWaiting = sql`from predictions indexed by predictions_waiting where ${WAITING} and app_id = @appId`
  const countWaiting = prepare<number>(
    db,
    sql`select count(*) from (select 1 ${ofWaiting} limit @limit)`,
  ).pluck()
  // Two seeks in the index. Without the condition all of the queue is read.
  const selectOldestWaiting = prepare<number | null>(
    db,
    sql`select min(oldest) from (
      select min(created_at) as oldest ${ofWaiting} and (${IS_IMAGE_RETRY}) = 0
      union all select min(created_at) ${ofWaiting} and (${IS_IMAGE_RETRY}) = 1)`,
  ).pluck()
  // The upper bound excludes rows ahead of the month: the clock may have been set back.
  const isBetween = sql`created_at >= @since and created_at < @until`
  const visibleIds = sql`
      select prediction_id as id from prediction_tags
        where app_id = @appId and tag in ${jsonValues('@visibleTags')} and ${isBetween}
      union all select id from predictions indexed by predictions_by_restriction
        where app_id = @appId and restriction_key = @restrictionKey and ${HAS_RESTRICTION} and ${isBetween}
      union all select value from json_each(@visibleIds)`
  const countVisibleIds = prepare<number>(
    db,
    sql`select count(*) from (select 1 from (${visibleIds}) limit @limit)`,
  ).pluck()
  const isVisibleBetween = sql`id in (${visibleIds}) and +app_id = @appId and ${isBetween}`
  const sumCost = prepare<number>(
    db,
    sql`select coalesce(sum(cost), 0) from predictions where ${isVisibleBetween}`,
  ).pluck()
  const countWaitingVisible = prepare<number>(
    db,
    sql`select count(*) from predictions where ${isVisibleBetween} and ${WAITING}`,
  ).pluck()

  const ofRange = (scope: Scope, since: number, until = Number.MAX_SAFE_INTEGER) => ({
    ...scopeParameters(scope),
    since,
    until,
  })
  const limit = MAX_ROWS + 1
  return {
    jobCounts: (scope: Scope) => selectJobCounts.get(scopeParameters(scope))!,
    inFlight: (scope: Scope) => selectInFlight.get(scopeParameters(scope))!,
    hasFewWaiting: ({ appId }: Scope) => countWaiting.get({ appId, limit })! < limit,
    oldestWaiting: ({ appId }: Scope) => selectOldestWaiting.get({ appId }) ?? 0,
    hasFewSince: (scope: Scope, since: number, until?: number) =>
      countVisibleIds.get({ ...ofRange(scope, since, until), limit })! < limit,
    waitingSince: (scope: Scope, since: number) => countWaitingVisible.get(ofRange(scope, since))!,
    spentBetween: (scope: Scope, since: number, until: number) => sumCost.get(ofRange(scope, since, until))!,
  }
}

/**
 * An app's spend by UTC month. A month is its first moment.
 * Invariant: it is the sum of the costs of the predictions created in that month. A cost and its spend change in one
 * transaction.
 */
export interface MonthlySpend {
  /** `amount`: micro-USD; negative for a refund. */
  add: Statement<[{ appId: string; month: number; amount: number }]>
  /** Spend in the month, micro-USD. */
  spentIn(appId: string, month: number): number
}

export function createMonthlySpend(db: Db): MonthlySpend {
  const selectSpent = prepare<number>(
    db,
    sql`select spent from app_monthly_spend where app_id = @appId and month = @month`,
  ).pluck()

  return {
    add: prepare(
      db,
      sql`
      insert into app_monthly_spend (app_id, month, spent) values (@appId, @month, @amount)
      on conflict (app_id, month) do update set spent = spent + excluded.spent`,
    ),
    spentIn: (appId, month) => selectSpent.get({ appId, month }) ?? 0,
  }
}
