/**
 * Usage of an app, as it is reported to clients, and its monthly spend.
 */
import type { Statement } from 'better-sqlite3'
import { startOfUtcMonth } from '../../domain/app-limits.ts'
import { DAY_MS } from '../../domain/time.ts'
import type { AppStore, AppUsage } from '../store.ts'
import type { Db } from './connection.ts'
import { type SQL, sql } from './drizzle.ts'
import { HAS_RESTRICTION, IN_FLIGHT, SUBMIT_STARTED, UNRESOLVED, WAITING } from './predicates.ts'
import { jsonValues, prepare } from './prepare.ts'
import { scopeParameters, VISIBLE } from './visibility.ts'

/** The longest month. The first moment of a month plus this time lies in the next month. */
const MAX_MONTH_MS = 31 * DAY_MS

export function createAppUsage(db: Db, monthlySpend: Pick<MonthlySpend, 'spentIn'>): AppStore['usage'] {
  /** Names the index, because the planner would choose the index of all rows of the app. */
  const countVisible = (where: SQL, index: SQL) =>
    sql`(select count(*) from predictions indexed by ${index} where ${where} and ${VISIBLE})`
  const isUnresolvedPending = sql`${UNRESOLVED} and status = 'QUEUED' and tracking = 'expired'`
  const selectJobCounts = prepare<Omit<AppUsage, 'spent'>>(
    db,
    sql`
    select ${countVisible(SUBMIT_STARTED, sql`predictions_submit_started`)}
        + ${countVisible(IN_FLIGHT, sql`predictions_in_flight`)}
        + ${countVisible(isUnresolvedPending, sql`predictions_unresolved`)} as inFlight,
      ${countVisible(WAITING, sql`predictions_waiting`)} as queued`,
  )
  // The upper bound excludes rows ahead of the month: the clock may have been set back.
  const isInMonth = sql`created_at >= @monthStart and created_at < @monthEnd`
  const sumCost = prepare<number>(
    db,
    sql`
    select coalesce(sum(cost), 0) from predictions where id in (
      select prediction_id from prediction_tags
        where app_id = @appId and tag in ${jsonValues('@visibleTags')} and ${isInMonth}
      union all select id from predictions indexed by predictions_by_restriction
        where app_id = @appId and restriction_key = @restrictionKey and ${HAS_RESTRICTION} and ${isInMonth}
      union all select value from json_each(@visibleIds)
    ) and +app_id = @appId and ${isInMonth}`,
  ).pluck()

  return async (scope, now) => {
    const month = startOfUtcMonth(now)
    return {
      ...selectJobCounts.get(scopeParameters(scope))!,
      spent:
        scope.restriction === null
          ? monthlySpend.spentIn(scope.appId, month)
          : sumCost.get({
              ...scopeParameters(scope),
              monthStart: month,
              monthEnd: startOfUtcMonth(month + MAX_MONTH_MS),
            })!,
    }
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
