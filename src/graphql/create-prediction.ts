/**
 * From what was judged to a row, for whatever makes a prediction: under whose name, with which tags, within which limits.
 * Invariant: what a restricted token submits it sees, and so does every token of the same restriction.
 */
import { createHash } from 'node:crypto'
import { stringify } from 'safe-stable-stringify'
import { may, spaceOf } from '../domain/access-scope.ts'
import { MODELS } from '../domain/models.ts'
import type { Draft, Prediction } from '../domain/prediction.ts'
import type { Context } from './context.ts'
import { characters, MOST_TAGS, text } from './input-rules.ts'
import type { Refusal, RefusalOf } from './mutation-errors.ts'

export type Asked = Pick<Draft, 'model' | 'input' | 'tags' | 'metadata' | 'retryOf' | 'uploadId'>

/** With those that whoever submits it must have. */
export const taggedFor = ({ access }: Context, tags: readonly string[]): string[] => [
  ...new Set([...(access.grant?.tags ?? []), ...tags]),
]

/** The key's space is that of the scope: nobody learns from a key what somebody else has used it for. */
export const requestOf = ({ scope }: Context, key: string | null, fingerprint: string) =>
  key === null ? null : { space: spaceOf(scope), key, fingerprint }

export async function accept(
  asked: Asked,
  idempotency: ReturnType<typeof requestOf>,
  { scope, access, store, now }: Context,
): Promise<{ prediction: Prediction; isNew: boolean } | Refusal> {
  if (asked.tags.length > MOST_TAGS) return tooManyTags(asked)
  const { grant } = access
  const draft = {
    ...asked,
    appId: scope.appId,
    space: spaceOf(scope),
    token: grant?.token ?? null,
    cost: MODELS[asked.model].price,
  }
  const creation = await store.create(draft, idempotency, now(), grant ?? undefined)
  if (creation.kind === 'refused') return creation.refusal
  const { kind, prediction } = creation
  return kind === 'conflict'
    ? { code: 'IDEMPOTENCY_CONFLICT', prediction }
    : { prediction, isNew: kind === 'created' }
}

/** A retry has no tags of its own to be told of. */
const tooManyTags = ({ retryOf }: Asked): RefusalOf<'INVALID_INPUT'> => ({
  code: 'INVALID_INPUT',
  issues: [
    {
      path: ['input', retryOf === null ? 'tags' : 'id'],
      message: `expected at most ${MOST_TAGS} tags, with those of the token`,
    },
  ],
})

/** Null: it may. */
export const forbidden = ({ access }: Context): RefusalOf<'FORBIDDEN'> | null =>
  may(access, 'SUBMIT') ? null : { code: 'FORBIDDEN' }

/** Idempotency keys are one space for everything that makes a prediction. */
export const idempotencyKey = text
  .refine(key => key !== '' && characters(key) <= 255, 'expected 1 to 255 characters')
  .nullish()
  .transform(key => key ?? null)

/** The same for the same input, in whatever order the keys of its metadata come. */
export const fingerprint = (asked: object): string =>
  createHash('sha256').update(stringify(asked)!).digest('hex')
