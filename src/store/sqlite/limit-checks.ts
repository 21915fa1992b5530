/**
 * Checks the limits of an app and of a token before a submit.
 * Invariant: they are checked under the write lock of the insert, from the rows themselves, so concurrent submits can't
 * exceed one.
 */
import { type AppLimits, checkLimits, type UsageReader } from '../../domain/app-limits.ts'
import type { AppId } from '../../domain/prediction.ts'
import { MINUTE_MS } from '../../domain/time.ts'
import type { CreateResult, TokenLimits } from '../store.ts'
import type { MonthlySpend } from './app-usage.ts'
import type { Db } from './connection.ts'
import { sql } from './drizzle.ts'
import { WAITING } from './predicates.ts'
import { prepare } from './prepare.ts'

type Violation = Extract<CreateResult, { kind: 'refused' }>['violation']

/** Rows further ahead of the clock are not counted: the clock was set back. */
const MAX_CLOCK_SKEW_MS = MINUTE_MS

/** The limit that one more submit would violate, or null. Call it under the write lock. */
export function createLimitChecks(db: Db, monthlySpend: Pick<MonthlySpend, 'spentIn'>) {
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
    submitTimeAfter: (moment, skip) =>
      selectSubmitAfter.get({ appId, moment, skip, latest: now + MAX_CLOCK_SKEW_MS }) ?? null,
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
