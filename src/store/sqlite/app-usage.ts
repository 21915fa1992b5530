/**
 * What an app uses of its limits, in SQLite: told to whoever asks, and measured against for each submit.
 * Invariant: a submit is measured under the write lock that it is written under, from the rows themselves, so that no
 * number of concurrent ones gets past a limit.
 */
import { type AppLimits, checkLimits, startOfUtcMonth, type UsageReader } from '../../domain/app-limits.ts'
import type { AppId } from '../../domain/prediction.ts'
import type { AppStore, AppUsage, CreateResult, TokenLimits } from '../store.ts'
import type { Db } from './connection.ts'
import { type SQL, sql } from './drizzle.ts'
import { HAS_RESTRICTION, IN_FLIGHT, SUBMIT_STARTED, UNRESOLVED, WAITING } from './predicates.ts'
import { jsonValues, prepare } from './prepare.ts'
import { appMonthlySpend } from './schema.ts'
import { scopeParameters, VISIBLE } from './visibility.ts'

type Violation = Extract<CreateResult, { kind: 'refused' }>['violation']

/** One ahead of the clock was made before the clock was put back. */
const MAX_CLOCK_SKEW_MS = 60_000
/** From the beginning of any month into the next. */
const MAX_MONTH_MS = 31 * 24 * 60 * 60 * 1000

export function createAppUsage(db: Db, monthlySpend: Pick<MonthlySpend, 'spentIn'>): AppStore['usage'] {
  /** The planner would take the index of all rows that the app ever had. */
  const countVisible = (where: SQL, index: SQL) =>
    sql`(select count(*) from predictions indexed by ${index} where ${where} and ${VISIBLE})`
  const selectJobCounts = prepare<Omit<AppUsage, 'spent'>>(
    db,
    sql`
    select ${countVisible(SUBMIT_STARTED, sql`predictions_submit_started`)} + ${countVisible(IN_FLIGHT, sql`predictions_in_flight`)}
        + ${countVisible(sql`${UNRESOLVED} and status = 'QUEUED' and tracking = 'expired'`, sql`predictions_unresolved`)} as inFlight,
      ${countVisible(WAITING, sql`predictions_waiting`)} as queued`,
  )
  // Rows ahead of the month may be there: the clock was put back.
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
          ? monthlySpend.spentIn(scope.appId, now)
          : sumCost.get({
              ...scopeParameters(scope),
              monthStart: month,
              monthEnd: startOfUtcMonth(month + MAX_MONTH_MS),
            })!,
    }
  }
}

/** Why one more would be too much, or null. Asked under the write lock. */
export function createLimitChecks(db: Db, monthlySpend: MonthlySpend) {
  const selectLimits = prepare<AppLimits>(
    db,
    sql`
    select max_in_flight as maxInFlight, max_queued as maxQueued, submits_per_minute as submitsPerMinute,
      monthly_budget as monthlyBudget, weight
    from apps where id = @appId`,
  )
  const countByToken = prepare<number>(
    db,
    sql`select count(*) from predictions where token_id = @tokenId`,
  ).pluck()
  const countQueued = prepare<number>(
    db,
    sql`select count(*) from predictions where app_id = @appId and ${WAITING}`,
  ).pluck()
  const selectSubmitAfter = prepare<number>(
    db,
    sql`
    select created_at from predictions
    where app_id = @appId and created_at > @moment and created_at <= @latest
    order by created_at desc limit 1 offset @skip`,
  ).pluck()

  const usageReader = (appId: AppId, now: number): UsageReader => ({
    queued: () => countQueued.get({ appId })!,
    spent: () => monthlySpend.spentIn(appId, now),
    submitTimeAfter: (moment, n) =>
      selectSubmitAfter.get({ appId, moment, skip: n, latest: now + MAX_CLOCK_SKEW_MS }) ?? null,
  })

  return (
    { appId, tokenId, cost }: { appId: AppId; tokenId: string | null; cost: number },
    tokenLimits: TokenLimits | undefined,
    now: number,
  ): Violation | null => {
    if (
      tokenLimits !== undefined &&
      tokenId !== null &&
      countByToken.get({ tokenId })! >= tokenLimits.maxSubmits
    )
      return { code: 'FORBIDDEN' }
    const limits = selectLimits.get({ appId })
    return limits === undefined ? null : checkLimits(limits, usageReader(appId, now), cost, now)
  }
}

/**
 * Invariant: an app's spending of a month is the sum of the costs of its predictions created in it: a change of a cost
 * changes it in the same transaction.
 */
export interface MonthlySpend {
  /** @param amount micro-USD; less than 0 where it is given back */
  add(appId: string, createdAt: number, amount: number): void
  /** In the UTC month of `moment`. */
  spentIn(appId: string, moment: number): number
}

export function createMonthlySpend(db: Db): MonthlySpend {
  const upsertSpend = db
    .insert(appMonthlySpend)
    .values({
      appId: sql.placeholder('appId'),
      month: sql.placeholder('month'),
      spent: sql.placeholder('amount'),
    })
    .onConflictDoUpdate({
      target: [appMonthlySpend.appId, appMonthlySpend.month],
      set: { spent: sql`${appMonthlySpend.spent} + excluded.spent` },
    })
    .prepare()
  const selectSpent = prepare<number>(
    db,
    sql`select spent from app_monthly_spend where app_id = @appId and month = @month`,
  ).pluck()

  return {
    add(appId, createdAt, amount) {
      if (amount !== 0) upsertSpend.run({ appId, month: startOfUtcMonth(createdAt), amount })
    },
    spentIn: (appId, moment) => selectSpent.get({ appId, month: startOfUtcMonth(moment) }) ?? 0,
  }
}
