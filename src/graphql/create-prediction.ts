/**
 * Creates a prediction from a validated request: adds the app, the restriction key and the token's id. The store checks
 * the limits. The callers add the token's tags with `addGrantTags`, because submitVideo's fingerprint contains them.
 * Invariant: a restricted token sees what it submitted, and so does every token with the same restriction.
 */
import { createHash } from 'node:crypto'
import { stringify } from 'safe-stable-stringify'
import { MODELS } from '../domain/models.ts'
import type { Draft, Prediction } from '../domain/prediction.ts'
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
  { scope, access, store, now }: Context,
): Promise<{ prediction: Prediction; isNew: boolean } | MutationError> {
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
  const { kind, prediction } = creation
  return kind === 'conflict'
    ? { code: 'IDEMPOTENCY_CONFLICT', prediction }
    : { prediction, isNew: kind === 'created' }
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
