/**
 * Creates and changes predictions: loads the facts, lets domain/ make the plan, and carries it out.
 * Invariant: facts are loaded and writes executed in one transaction. Plans of one group commit run in order, each on
 * the state that the one before left.
 */
import { v7 as uuidv7 } from 'uuid'
import { type AppLimits, type LimitedUsage, usageNeeded } from '../../../domain/app-limits.ts'
import { type Idempotency, type KeyHolder, matchIdempotencyKey } from '../../../domain/idempotency.ts'
import {
  type ChangeFacts,
  changeFactsNeeded,
  findStateChange,
  planChange,
} from '../../../domain/plan-change.ts'
import {
  type CreateFacts,
  type CreateRequest,
  type CreateResult,
  createFactsNeeded,
  planCreate,
} from '../../../domain/plan-create.ts'
import type { AppId, Job, StateChange, Transition } from '../../../domain/prediction.ts'
import type { PredictionStore } from '../../store.ts'
import type { Db } from '../connection.ts'
import { sql } from '../drizzle.ts'
import type { GroupCommit } from '../group-commit.ts'
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
import { createExecuteWrites } from './execute.ts'
import { createPredictionReads } from './read.ts'

/** A client waits for its answer: the lock of a command beside the gateway is released by then. */
const MAX_LOCK_WAIT_MS = 2000

export function createPredictionStore(
  db: Db,
  groupCommit: GroupCommit,
  shared: SharedParts,
): PredictionStore {
  const facts = createPlanFacts(db, shared)
  const executeWrites = createExecuteWrites(db, shared)

  function create(request: CreateRequest): CreateResult {
    const { result, writes } = planCreate(request, facts.forCreate(request))
    executeWrites(writes)
    return result
  }

  function change(id: string, transition: Transition, now: number, fence: number | null): Job | null {
    const job = facts.job(id)
    const stateChange = job && findStateChange(job, transition, fence)
    if (stateChange === null) return null
    const { result, writes } = planChange(job!, stateChange, facts.forChange(stateChange), now)
    executeWrites(writes)
    return result
  }

  return {
    ...createPredictionReads(db, shared.findPrediction),

    create(draft, idempotency, now, tokenLimits) {
      // The id is made once, although the group commit may run the write twice.
      const request = { id: uuidv7(), draft, idempotency, tokenLimits: tokenLimits ?? null, now }
      return groupCommit.write(
        () => create(request),
        ({ kind }) => kind === 'created',
        MAX_LOCK_WAIT_MS,
      )
    },

    change: (id, transition, now, fence) =>
      groupCommit.write(
        () => change(id, transition, now, fence ?? null),
        job => job !== null,
        MAX_LOCK_WAIT_MS,
      ),

    async findByIdempotencyKey(appId, idempotency, now) {
      const keyHolder = facts.keyHolder(appId, idempotency)
      return keyHolder && matchIdempotencyKey(keyHolder, idempotency, now)
    },
  }
}

/**
 * Loads the facts that a plan declares. `forCreate` and `forChange` run under the write lock of the plan's writes and
 * count the rows themselves, so concurrent submits can't exceed a limit.
 */
interface PlanFacts {
  keyHolder(appId: AppId, idempotency: Idempotency): KeyHolder | null
  forCreate(request: CreateRequest): CreateFacts
  job(id: string): Job | null
  forChange(stateChange: StateChange): ChangeFacts
}

function createPlanFacts(
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
