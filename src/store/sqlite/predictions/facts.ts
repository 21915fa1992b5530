/**
 * Loads the facts that the plans of domain/ declare.
 * Invariant: it runs under the write lock of the plan's writes and counts the rows themselves, so concurrent submits
 * can't exceed a limit.
 */
import { type AppLimits, type LimitedUsage, usageNeeded } from '../../../domain/app-limits.ts'
import type { Idempotency, KeyHolder } from '../../../domain/idempotency.ts'
import { type ChangeFacts, changeFactsNeeded } from '../../../domain/plan-change.ts'
import { type CreateFacts, type CreateRequest, createFactsNeeded } from '../../../domain/plan-create.ts'
import type { AppId, Job, StateChange } from '../../../domain/prediction.ts'
import type { Db } from '../connection.ts'
import { sql } from '../drizzle.ts'
import { WAITING } from '../predicates.ts'
import { prepare } from '../prepare.ts'
import {
  ALL_COLUMNS,
  decodeJsonColumns,
  type PredictionRow,
  type SqliteRow,
  toJob,
  toPrediction,
} from '../row-mapping.ts'
import type { SharedParts } from '../shared-parts.ts'

export interface PlanFacts {
  keyHolder(appId: AppId, idempotency: Idempotency): KeyHolder | null
  forCreate(request: CreateRequest): CreateFacts
  job(id: string): Job | null
  forChange(stateChange: StateChange): ChangeFacts
}

export function createPlanFacts(
  db: Db,
  { monthlySpend, submitThrottle }: Pick<SharedParts, 'monthlySpend' | 'submitThrottle'>,
): PlanFacts {
  const byId = prepare<SqliteRow<PredictionRow>>(
    db,
    sql`select ${ALL_COLUMNS} from predictions where id = @id`,
  )
  const byIdempotencyKey = prepare<SqliteRow<PredictionRow>>(
    db,
    sql`
    select ${ALL_COLUMNS} from predictions
    where app_id = @appId and restriction_key = @restrictionKey and idempotency_key = @key`,
  )
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
  const selectRecentSubmit = prepare<number>(
    db,
    sql`
    select created_at from predictions
    where app_id = @appId and created_at > @after and created_at <= @until
    order by created_at desc limit 1 offset @skip`,
  ).pluck()

  function keyHolder(appId: AppId, { restrictionKey, key }: Idempotency): KeyHolder | null {
    const raw = byIdempotencyKey.get({ appId, restrictionKey, key })
    if (raw === undefined) return null
    const row = decodeJsonColumns(raw)
    return { prediction: toPrediction(row), fingerprint: row.fingerprint }
  }

  function usageOf(appId: AppId, limits: AppLimits, now: number): LimitedUsage {
    const { spendMonth, queued, recentSubmit } = usageNeeded(limits, now)
    return {
      ...(spendMonth !== null && { spent: monthlySpend.spentIn(appId, spendMonth) }),
      ...(queued && { queued: countQueued.get({ appId })! }),
      ...(recentSubmit && { recentSubmitAt: selectRecentSubmit.get({ appId, ...recentSubmit }) ?? null }),
    }
  }

  return {
    keyHolder,

    forCreate(request) {
      const { draft, idempotency, now } = request
      const { appId, tokenId } = draft
      const holder = idempotency && keyHolder(appId, idempotency)
      const needed = createFactsNeeded(request, holder)
      const facts: CreateFacts = { keyHolder: holder }
      if (needed.tokenSubmits) facts.tokenSubmits = countByToken.get({ tokenId })!
      if (needed.limits) {
        facts.limits = selectLimits.get({ appId }) ?? null
        if (facts.limits !== null) facts.usage = usageOf(appId, facts.limits, now)
      }
      return facts
    },

    job(id) {
      const raw = byId.get({ id })
      return raw === undefined ? null : toJob(decodeJsonColumns(raw))
    },

    forChange(stateChange) {
      const needed = changeFactsNeeded(stateChange)
      return {
        ...(needed.submitCircuit && { submitCircuit: submitThrottle.submitCircuit() }),
        ...(needed.concurrencyLimit && { concurrencyLimit: submitThrottle.concurrencyLimit() }),
        ...(needed.activeJobs && { activeJobs: submitThrottle.activeJobs() }),
      }
    },
  }
}
