/**
 * createAccessToken: an app's server mints, with its key, a token for a browser.
 * Invariant: a token grants no more than was requested, expires no later than requested and no later than its
 * key, and cannot mint another token.
 */
import { z } from 'zod'
import { PERMISSIONS } from '../domain/access-scope.ts'
import { SECOND_MS } from '../domain/time.ts'
import { builder, WRITE_COST } from './builder.ts'
import type { Context } from './context.ts'
import { decodeIdOf } from './global-id.ts'
import { tagListSchema } from './input-rules.ts'
import {
  type MutationErrorOf,
  mutationErrorTypes,
  resolveResultType,
  toInputIssues,
} from './mutation-errors.ts'

const PermissionEnum = builder.enumType('Permission', {
  values: {
    READ: {},
    SUBMIT: { description: 'With cancel and retry of what it sees, and uploads of its own.' },
  } satisfies Record<(typeof PERMISSIONS)[number], object>,
})

const CreateAccessTokenInput = builder.inputType('CreateAccessTokenInput', {
  description:
    'With tags or predictionIds the token sees what has one of the tags or ids, and what was submitted with a token of just the same ones.',
  fields: t => ({
    permissions: t.field({ type: [PermissionEnum], required: true }),
    tags: t.stringList({ description: 'What it submits carries them. At most 10, 64 characters each.' }),
    predictionIds: t.idList({ description: 'At most 100.' }),
    maxSubmits: t.int({
      required: true,
      defaultValue: 1,
      description: '0 to 10000 predictions, retries too.',
    }),
    expiresInSeconds: t.int({
      required: true,
      defaultValue: 900,
      description: '1 to 86400; it ends with its key, if that ends sooner.',
    }),
  }),
})
type CreateAccessTokenInput = typeof CreateAccessTokenInput.$inferInput

interface MintedToken {
  token: string
  expiresAt: number
}

const CreateAccessTokenPayload = builder.objectRef<MintedToken>('CreateAccessTokenPayload').implement({
  fields: t => ({
    token: t.exposeString('token', { description: 'Used like a key: `Authorization: Bearer …`.' }),
    expiresAt: t.expose('expiresAt', { type: 'DateTime' }),
  }),
})

const CreateAccessTokenResult = builder.unionType('CreateAccessTokenResult', {
  types: [CreateAccessTokenPayload, mutationErrorTypes.INVALID_INPUT, mutationErrorTypes.FORBIDDEN],
  resolveType: resolveResultType(CreateAccessTokenPayload),
})

builder.mutationField('createAccessToken', t =>
  t.field({
    type: CreateAccessTokenResult,
    complexity: WRITE_COST,
    description:
      "A short-lived token for a browser, minted by the app's own server with its key: that key never leaves the server.",
    args: { input: t.arg({ type: CreateAccessTokenInput, required: true }) },
    resolve: (_root, { input }, context) => context.countRejections(createAccessToken(input, context)),
  }),
)

/** Repeated permissions are accepted, and granted once. */
const MAX_PERMISSIONS = 100

const inputSchema = z.object({
  permissions: z
    .array(z.string())
    .min(1, 'expected at least one permission')
    .max(MAX_PERMISSIONS, `expected at most ${MAX_PERMISSIONS} permissions`)
    .pipe(z.array(z.enum(PERMISSIONS))),
  // An empty list could mean "none of them" or "all of them".
  tags: tagListSchema
    .refine(tags => tags.length > 0, 'expected at least one tag, or none of this field')
    .nullish(),
  // The ids are decoded once their number is known to be valid.
  predictionIds: z
    .array(z.string())
    .min(1, 'expected at least one id, or none of this field')
    .max(100, 'expected at most 100 ids')
    .transform(ids => ids.map(id => decodeIdOf('Prediction', id)))
    .nullish(),
  maxSubmits: z.number().refine(count => count >= 0 && count <= 10_000, 'expected 0 to 10000'),
  expiresInSeconds: z.number().refine(s => s >= 1 && s <= 86_400, 'expected 1 to 86400 seconds'),
})

async function createAccessToken(
  input: CreateAccessTokenInput,
  { access, scope, store, tokens, now }: Context,
): Promise<MintedToken | MutationErrorOf<'INVALID_INPUT' | 'FORBIDDEN'>> {
  if (access.grant !== null) return { code: 'FORBIDDEN' }
  const parsed = inputSchema.safeParse(input)
  if (!parsed.success) return { code: 'INVALID_INPUT', issues: toInputIssues(parsed.error) }
  const { permissions, tags, predictionIds, maxSubmits, expiresInSeconds } = parsed.data
  // The key is read again: its expiry may have changed since the request was authenticated.
  const key = await store.findKey(access.keyPrefix)
  if (key === null) return { code: 'FORBIDDEN' }
  const keyExpirySeconds = Math.floor((key.expiresAt ?? Number.POSITIVE_INFINITY) / SECOND_MS)
  const expiresAt = Math.min(Math.ceil(now() / SECOND_MS) + expiresInSeconds, keyExpirySeconds) * SECOND_MS
  const token = await tokens.mint({
    appId: scope.appId,
    keyPrefix: access.keyPrefix,
    permissions: [...new Set(permissions)],
    restriction: tags || predictionIds ? { tags: tags ?? [], ids: predictionIds ?? [] } : null,
    maxSubmits,
    expiresAt,
  })
  return { token, expiresAt }
}
