/**
 * From what was judged to a row, for whatever makes a prediction: under whose name, with which tags, within which limits.
 * Invariant: what a restricted token submits it sees, and so does every token of the same restriction.
 */
import { createHash } from 'node:crypto'
import { stringify } from 'safe-stable-stringify'
import { hasPermission, restrictionKeyOf } from '../domain/access-scope.ts'
import { MODELS } from '../domain/models.ts'
import type { Draft, Prediction } from '../domain/prediction.ts'
import type { Context } from './context.ts'
import { countCharacters, MAX_TAGS, textSchema } from './input-rules.ts'
import type { MutationError, MutationErrorOf } from './mutation-errors.ts'

export type PredictionRequest = Pick<Draft, 'model' | 'input' | 'tags' | 'metadata' | 'retryOf' | 'uploadId'>

/** With those that whoever submits it must have. */
export const addGrantTags = ({ access }: Context, tags: readonly string[]): string[] => [
  ...new Set([...(access.grant?.tags ?? []), ...tags]),
]

/** The key's space is that of the scope: nobody learns from a key what somebody else has used it for. */
export const toIdempotency = ({ scope }: Context, key: string | null, fingerprint: string) =>
  key === null ? null : { restrictionKey: restrictionKeyOf(scope), key, fingerprint }

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
    restrictionKey: restrictionKeyOf(scope),
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

/** A retry has no tags of its own to be told of. */
const tooManyTags = ({ retryOf }: PredictionRequest): MutationErrorOf<'INVALID_INPUT'> => ({
  code: 'INVALID_INPUT',
  issues: [
    {
      path: ['input', retryOf === null ? 'tags' : 'id'],
      message: `expected at most ${MAX_TAGS} tags, with those of the token`,
    },
  ],
})

/** Null: it may. */
export const checkSubmitPermission = ({ access }: Context): MutationErrorOf<'FORBIDDEN'> | null =>
  hasPermission(access, 'SUBMIT') ? null : { code: 'FORBIDDEN' }

/** Idempotency keys are one space for everything that makes a prediction. */
export const idempotencyKeySchema = textSchema
  .refine(key => key !== '' && countCharacters(key) <= 255, 'expected 1 to 255 characters')
  .nullish()
  .transform(key => key ?? null)

/** The same for the same input, in whatever order the keys of its metadata come. */
export const fingerprint = (request: object): string =>
  createHash('sha256').update(stringify(request)!).digest('hex')
