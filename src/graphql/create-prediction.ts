/**
 * Creates a prediction from a validated request: adds the app, the restriction key and the token's id. The store checks
 * the limits. The callers add the token's tags with `addGrantTags`, because submitVideo's fingerprint contains them.
 * Invariant: a restricted token sees what it submitted, and so does every token with the same restriction.
 */
import { createHash } from 'node:crypto'
import { stringify } from 'safe-stable-stringify'
import { mayFollow } from '../domain/access-scope.ts'
import type { IdempotentMatch } from '../domain/idempotency.ts'
import { MODELS } from '../domain/models.ts'
import { asSubmitted, type Draft, type Prediction } from '../domain/prediction.ts'
import type { Context } from './context.ts'
import { MAX_TAGS, nameUpTo } from './input-rules.ts'
import type { MutationError, MutationErrorOf } from './mutation-errors.ts'

export type PredictionRequest = Pick<Draft, 'model' | 'input' | 'tags' | 'metadata' | 'retryOf' | 'uploadId'>

/** The request's tags and the tags that the token must add. */
export const addGrantTags = ({ access }: Context, tags: readonly string[]): string[] => [
  ...new Set([...(access.grant?.tags ?? []), ...tags]),
]

/**
 * An idempotency key is scoped to the caller's restriction, so a caller cannot find out from a key what
 * another caller used it for.
 */
export const toIdempotency = ({ scope }: Context, key: string | null, fingerprint: string) =>
  key === null ? null : { restrictionKey: scope.restrictionKey, key, fingerprint }

export async function createPrediction(
  request: PredictionRequest,
  idempotency: ReturnType<typeof toIdempotency>,
  context: Context,
): Promise<{ prediction: Prediction; isNew: boolean } | MutationError> {
  const { scope, access, store, now } = context
  if (request.tags.length > MAX_TAGS) return tooManyTags(request)
  const { grant } = access
  const draft = {
    ...request,
    appId: scope.appId,
    restrictionKey: scope.restrictionKey,
    tokenId: grant?.tokenId ?? null,
    cost: MODELS[request.model].price,
  }
  const creation = await store.create(draft, idempotency, now(), grant ?? undefined)
  if (creation.kind === 'refused') return creation.violation
  return creation.kind === 'created'
    ? { prediction: creation.prediction, isNew: true }
    : answerMatch(creation, context)
}

/**
 * The answer to a request whose idempotency key is in use. Tokens without READ of one restriction share their keys,
 * because a browser may repeat a request with a fresh token. Such a token proves by the whole input that the request is
 * the same; it gets the prediction as it was submitted. Otherwise it gets nothing of the other token's prediction.
 */
export function answerMatch(
  { kind, prediction }: IdempotentMatch,
  { access }: Context,
): { prediction: Prediction; isNew: false } | MutationErrorOf<'IDEMPOTENCY_CONFLICT' | 'INVALID_INPUT'> {
  if (kind === 'repeated')
    return { prediction: mayFollow(access, prediction) ? prediction : asSubmitted(prediction), isNew: false }
  if (mayFollow(access, prediction)) return { code: 'IDEMPOTENCY_CONFLICT', prediction }
  const message = 'in use for another request; use a new key for a new request'
  return { code: 'INVALID_INPUT', issues: [{ path: ['input', 'idempotencyKey'], message }] }
}

/** A retry sends no tags of its own, so the issue names its `id`. */
const tooManyTags = ({ retryOf }: PredictionRequest): MutationErrorOf<'INVALID_INPUT'> => ({
  code: 'INVALID_INPUT',
  issues: [
    {
      path: ['input', retryOf === null ? 'tags' : 'id'],
      message: `expected at most ${MAX_TAGS} tags, with those of the token`,
    },
  ],
})

/** Null if the caller may submit. */
export const checkSubmitPermission = ({ access }: Context): MutationErrorOf<'FORBIDDEN'> | null =>
  access.permissions.includes('SUBMIT') ? null : { code: 'FORBIDDEN' }

/** The format of idempotency keys. All mutations that create a prediction share one key space. */
export const idempotencyKeySchema = nameUpTo(255)
  .nullish()
  .transform(key => key ?? null)

/**
 * Equal for equal input, whatever the order of the keys in its metadata. It hashes the request's field names,
 * and a stored idempotency key outlives an upgrade: do not rename them.
 */
export const fingerprint = (request: object): string =>
  createHash('sha256').update(stringify(request)!).digest('hex')
