/**
 * What an app uses of its limits, in SQLite: told to whoever asks, and measured against for each submit.
 * Invariant: a submit is measured under the write lock that it is written under, from the rows themselves, so that no
 * number of concurrent ones gets past a limit.
 */
import { excessOf, type Limits, monthOf, type Use } from '../../domain/app-limits.ts'
import type { AppId } from '../../domain/prediction.ts'
import type { Apps, Bounds, Creation, Usage } from '../store.ts'
import type { Db } from './connection.ts'
import { type SQL, sql } from './drizzle.ts'
import { prepare, valuesOf } from './prepare.ts'
import { BEGUN, IN_FLIGHT, IN_SPACE, SOUGHT, spending, WAITING } from './schema.ts'
import { scoped, VISIBLE } from './visibility.ts'

type Refusal = Extract<Creation, { kind: 'refused' }>['refusal']

/** One ahead of the clock was made before the clock was put back. */
const AHEAD_MS = 60_000
/** From the beginning of any month into the next. */
const LONGEST_MONTH_MS = 31 * 24 * 60 * 60 * 1000

export function createUsage(db: Db, spending: Pick<Spending, 'of'>): Apps['usage'] {
  /** The planner would take the index of all rows that the app ever had. */
  const mineOf = (where: SQL, index: SQL) =>
    sql`(select count(*) from predictions indexed by ${index} where ${where} and ${VISIBLE})`
  const counts = prepare<Omit<Usage, 'spent'>>(
    db,
    sql`
    select ${mineOf(BEGUN, sql`predictions_begun`)} + ${mineOf(IN_FLIGHT, sql`predictions_in_flight`)}
        + ${mineOf(sql`${SOUGHT} and status = 'QUEUED' and following = 'late'`, sql`predictions_sought`)} as inFlight,
      ${mineOf(WAITING, sql`predictions_waiting`)} as queued`,
  )
  // Rows ahead of the month may be there: the clock was put back.
  const ofMonth = sql`created_at >= @month and created_at < @next`
  const cost = prepare<number>(
    db,
    sql`
    select coalesce(sum(cost), 0) from predictions where id in (
      select prediction_id from tagged
        where app_id = @appId and tag in ${valuesOf('@onlyTags')} and ${ofMonth}
      union all select id from predictions indexed by predictions_by_space
        where app_id = @appId and space = @only and ${IN_SPACE} and ${ofMonth}
      union all select value from json_each(@onlyIds)
    ) and +app_id = @appId and ${ofMonth}`,
  ).pluck()

  return async (scope, now) => {
    const month = monthOf(now)
    return {
      ...counts.get(scoped(scope))!,
      spent:
        scope.only === null
          ? spending.of(scope.appId, now)
          : cost.get({
              ...scoped(scope),
              month,
              next: monthOf(month + LONGEST_MONTH_MS),
            })!,
    }
  }
}

/** Why one more would be too much, or null. Asked under the write lock. */
export function createRefusals(db: Db, spending: Spending) {
  const limitsOf = prepare<Limits>(
    db,
    sql`
    select max_in_flight as maxInFlight, max_queued as maxQueued, submits_per_minute as submitsPerMinute,
      monthly_budget as monthlyBudget, weight
    from apps where id = @appId`,
  )
  const madeBy = prepare<number>(db, sql`select count(*) from predictions where token = @token`).pluck()
  const queued = prepare<number>(
    db,
    sql`select count(*) from predictions where app_id = @appId and ${WAITING}`,
  ).pluck()
  const submitAfter = prepare<number>(
    db,
    sql`
    select created_at from predictions
    where app_id = @appId and created_at > @moment and created_at <= @latest
    order by created_at desc limit 1 offset @n`,
  ).pluck()

  const useOf = (appId: AppId, now: number): Use => ({
    queued: () => queued.get({ appId })!,
    spent: () => spending.of(appId, now),
    submitAfter: (moment, n) => submitAfter.get({ appId, moment, n, latest: now + AHEAD_MS }) ?? null,
  })

  return (
    { appId, token, cost }: { appId: AppId; token: string | null; cost: number },
    bounds: Bounds | undefined,
    now: number,
  ): Refusal | null => {
    if (bounds !== undefined && token !== null && madeBy.get({ token })! >= bounds.maxSubmits)
      return { code: 'FORBIDDEN' }
    const limits = limitsOf.get({ appId })
    return limits === undefined ? null : excessOf(limits, useOf(appId, now), cost, now)
  }
}

/**
 * Invariant: an app's spending of a month is the sum of the costs of its predictions created in it: a change of a cost
 * changes it in the same transaction.
 */
export interface Spending {
  /** @param by micro-USD; less than 0 where it is given back */
  add(appId: string, createdAt: number, by: number): void
  /** In the UTC month of `moment`. */
  of(appId: string, moment: number): number
}

export function createSpending(db: Db): Spending {
  const add = db
    .insert(spending)
    .values({
      appId: sql.placeholder('appId'),
      month: sql.placeholder('month'),
      spent: sql.placeholder('by'),
    })
    .onConflictDoUpdate({
      target: [spending.appId, spending.month],
      set: { spent: sql`${spending.spent} + excluded.spent` },
    })
    .prepare()
  const of = prepare<number>(
    db,
    sql`select spent from spending where app_id = @appId and month = @month`,
  ).pluck()

  return {
    add(appId, createdAt, by) {
      if (by !== 0) add.run({ appId, month: monthOf(createdAt), by })
    },
    of: (appId, moment) => of.get({ appId, month: monthOf(moment) }) ?? 0,
  }
}
