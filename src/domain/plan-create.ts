/**
 * Plans the creation of a prediction: its idempotency key, the limits of its token and its app, and all that is
 * written. Pure.
 * Invariant: the same request and facts give the same plan, so an engine may plan again after a rollback.
 */
import {
  type AppLimits,
  checkLimits,
  type LimitedUsage,
  type LimitViolation,
  startOfUtcMonth,
} from './app-limits.ts'
import { type Idempotency, type IdempotentMatch, type KeyHolder, matchIdempotencyKey } from './idempotency.ts'
import { missingFact, type Plan, type PlannedWrite } from './plan.ts'
import type { Draft, Job, Prediction, PredictionState } from './prediction.ts'

export interface CreateRequest {
  /** Id of the new prediction, made before the first try. */
  id: string
  draft: Draft & { cost: number }
  idempotency: Idempotency | null
  tokenLimits: TokenLimits | null
  now: number
}

/** Limits of a token, checked beside the limits of its app. */
export interface TokenLimits {
  /** Max predictions this token may create. */
  maxSubmits: number
}

export type CreateResult =
  | { kind: 'created'; prediction: Prediction }
  | IdempotentMatch
  | { kind: 'refused'; violation: LimitViolation | { code: 'FORBIDDEN' } }

/** A fact that was not needed is missing. */
export interface CreateFacts {
  /** Null if no row has the key, or the request has none. */
  keyHolder: KeyHolder | null
  /** Predictions that the token has created. */
  tokenSubmits?: number
  /** Null if the app does not exist; a foreign key of the engine then refuses the insert. */
  limits?: AppLimits | null
  /** Facts that `usageNeeded` of these limits declares. */
  usage?: LimitedUsage
}

/**
 * Which facts a create needs beside the holder of its key: none if the key is in use. If `limits` is true, the facts of
 * `usageNeeded(limits)` are needed too.
 */
export function createFactsNeeded(
  request: CreateRequest,
  keyHolder: KeyHolder | null,
): { limits: boolean; tokenSubmits: boolean } {
  if (findMatch(request, keyHolder) !== null) return { limits: false, tokenSubmits: false }
  const { tokenLimits, draft } = request
  return { limits: true, tokenSubmits: tokenLimits !== null && draft.tokenId !== null }
}

export function planCreate(request: CreateRequest, facts: CreateFacts): Plan<CreateResult> {
  const match = findMatch(request, facts.keyHolder)
  if (match !== null) return { result: match, writes: [] }
  const violation = findViolation(request, facts)
  if (violation !== null) return { result: { kind: 'refused', violation }, writes: [] }
  const month = startOfUtcMonth(request.now)
  const state = newState(request)
  const prediction = newPrediction(request, state)
  return {
    result: { kind: 'created', prediction },
    writes: writesOf(request, facts, prediction, state, month),
  }
}

const findMatch = (
  { idempotency, now }: CreateRequest,
  keyHolder: KeyHolder | null,
): IdempotentMatch | null =>
  idempotency === null || keyHolder === null ? null : matchIdempotencyKey(keyHolder, idempotency, now)

function findViolation(
  { draft, tokenLimits, now }: CreateRequest,
  facts: CreateFacts,
): LimitViolation | { code: 'FORBIDDEN' } | null {
  if (
    tokenLimits !== null &&
    draft.tokenId !== null &&
    (facts.tokenSubmits ?? missingFact('tokenSubmits')) >= tokenLimits.maxSubmits
  )
    return { code: 'FORBIDDEN' }
  const limits = facts.limits === undefined ? missingFact('limits') : facts.limits
  return limits === null ? null : checkLimits(limits, facts.usage ?? missingFact('usage'), draft.cost, now)
}

function writesOf(
  { draft: { appId, cost }, idempotency, now }: CreateRequest,
  { keyHolder }: CreateFacts,
  prediction: Prediction,
  state: PredictionState,
  month: number,
): PlannedWrite[] {
  const { id } = prediction
  const writes: PlannedWrite[] = []
  if (keyHolder !== null)
    writes.push({
      kind: 'forgetIdempotencyKey',
      id: keyHolder.prediction.id,
      version: keyHolder.prediction.version,
    })
  // Before the insert: the new row is not yet one of the app's waiting jobs.
  writes.push({ kind: 'startBacklog', appId, now })
  writes.push({ kind: 'insertPrediction', job: newJob(prediction), idempotency })
  if (cost !== 0) writes.push({ kind: 'addSpend', appId, month, amount: cost })
  writes.push({
    kind: 'insertEvent',
    event: {
      appId,
      predictionId: id,
      type: 'QUEUED',
      previousStatus: null,
      occurredAt: now,
      state,
    },
  })
  return writes
}

/** The prediction as a read returns it. */
const newPrediction = ({ id, draft, now }: CreateRequest, state: PredictionState): Prediction => ({
  id,
  appId: draft.appId,
  model: draft.model,
  input: {
    imageUrl: draft.input.imageUrl,
    prompt: draft.input.prompt,
    negativePrompt: draft.input.negativePrompt,
    duration: draft.input.duration,
    enablePromptExpansion: draft.input.enablePromptExpansion,
    seed: draft.input.seed,
  },
  tags: draft.tags,
  metadata: asStored(draft.metadata),
  retryOf: draft.retryOf,
  uploadId: draft.uploadId,
  restrictionKey: draft.restrictionKey,
  tokenId: draft.tokenId,
  createdAt: now,
  ...state,
})

const newState = ({ draft, now }: CreateRequest): PredictionState => ({
  version: 1,
  status: 'QUEUED',
  outputs: [],
  error: null,
  cost: draft.cost,
  upstreamId: null,
  submittedAt: null,
  startedAt: null,
  finishedAt: null,
  updatedAt: now,
  inferenceMs: null,
})

/** A JSON value as a database returns it: -0 is 0, and objects have a prototype. */
const asStored = (json: unknown): unknown => (json === null ? null : JSON.parse(JSON.stringify(json)))

const newJob = (prediction: Prediction): Job => ({
  ...prediction,
  submission: 'none',
  tracking: null,
  fence: 0,
  submitAttempts: 0,
  dueAt: prediction.createdAt,
  imageVerifiedAt: null,
  imageCheckFailures: 0,
  upstreamImageUrl: null,
  submitStartedAt: null,
  lastSeenRunningAt: null,
  completedWithoutOutputSince: null,
})
