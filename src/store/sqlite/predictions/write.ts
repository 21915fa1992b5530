/**
 * Creates and changes predictions: loads the facts, lets domain/ make the plan, and carries it out.
 * Invariant: facts are loaded and writes executed in one transaction. Plans of one group commit run in order, each on
 * the state that the one before left. Transaction callbacks are never async: drizzle on better-sqlite3 would commit what
 * follows the first await outside of the transaction.
 */
import { v7 as uuidv7 } from 'uuid'
import { matchIdempotencyKey } from '../../../domain/idempotency.ts'
import { findStateChange, planChange } from '../../../domain/plan-change.ts'
import { type CreateRequest, type CreateResult, planCreate } from '../../../domain/plan-create.ts'
import type { Job, Transition } from '../../../domain/prediction.ts'
import type { PredictionStore } from '../../store.ts'
import type { Db } from '../connection.ts'
import type { GroupCommit } from '../group-commit.ts'
import type { SharedParts } from '../shared-parts.ts'
import { createExecuteWrites } from './execute.ts'
import { createPlanFacts } from './facts.ts'
import { createPredictionReads } from './read.ts'

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
      // Made once, although the group commit may run the write twice.
      const request = { id: uuidv7(), draft, idempotency, tokenLimits: tokenLimits ?? null, now }
      return groupCommit.write(
        () => create(request),
        ({ kind }) => kind === 'created',
      )
    },

    change: (id, transition, now, fence) =>
      groupCommit.write(
        () => change(id, transition, now, fence ?? null),
        job => job !== null,
      ),

    async findByIdempotencyKey(appId, idempotency, now) {
      const keyHolder = facts.keyHolder(appId, idempotency)
      return keyHolder && matchIdempotencyKey(keyHolder, idempotency, now)
    },
  }
}
