/**
 * Who asks, and how much of its app it sees: all of it with a key, a part of it with a token that is limited. Pure.
 * Invariant: every read names a scope, and a scope names its app; what is out of it looks as if it had never been.
 */
import { createHash } from 'node:crypto'
import type { AppId, Prediction } from './prediction.ts'

export interface Scope {
  readonly appId: AppId
  /** Null: all of the app's predictions. */
  readonly restriction: Restriction | null
}

/** A prediction is seen by any one of these. */
export interface Restriction {
  readonly tags: readonly string[]
  readonly ids: readonly string[]
  /** The same for the same tags and ids: what was submitted under this very restriction is seen, too. */
  readonly id: string
}

export const PERMISSIONS = ['READ', 'SUBMIT'] as const
export type Permission = (typeof PERMISSIONS)[number]

/** What a token may; a key may everything. */
export interface Grant {
  readonly tokenId: string
  /** What it submits carries them. */
  readonly tags: readonly string[]
  readonly permissions: readonly Permission[]
  readonly maxSubmits: number
}

export interface Access {
  readonly scope: Scope
  /** Null: it is a key of the app itself. */
  readonly grant: Grant | null
  /** The visible prefix of the key, or of the key that minted the token. */
  readonly keyPrefix: string
  /** Of a token. Null for a key: its row says, and may be changed while it is known. */
  readonly expiresAt: number | null
}

export const fullScope = (appId: AppId): Scope => ({ appId, restriction: null })

export const hasPermission = ({ grant }: Pick<Access, 'grant'>, permission: Permission): boolean =>
  grant === null || grant.permissions.includes(permission)

/** An image is for a submit: whoever may have none needs no image. */
export const mayUpload = (access: Pick<Access, 'grant'>): boolean =>
  hasPermission(access, 'SUBMIT') && access.grant?.maxSubmits !== 0

/** One and the same for the same tags and ids, in whatever order: what is submitted under it carries its tags as they stand here. */
export function createRestriction(tags: readonly string[], ids: readonly string[]): Restriction {
  const sorted = { tags: [...new Set(tags)].sort(), ids: [...new Set(ids)].sort() }
  const text = JSON.stringify([sorted.tags, sorted.ids])
  return { ...sorted, id: createHash('sha256').update(text).digest('base64url').slice(0, 22) }
}

/**
 * Of a token without READ: what it is given by id, and what such tokens have submitted. It sees no more in what its
 * mutations answer.
 */
export function writeOnlyRestriction(tags: readonly string[], ids: readonly string[]): Restriction {
  const { id } = createRestriction(['without READ', ...tags.map(tag => `tag ${tag}`)], ids)
  return { ...createRestriction([], ids), id }
}

/** Empty where nothing is out of it. */
export const restrictionKeyOf = ({ restriction }: Scope): string => restriction?.id ?? ''

/** The one meaning of a scope; the engines' SQL is held against it by a property test. */
export const canSee = (
  { appId, restriction }: Scope,
  { id, tags, restrictionKey, ...prediction }: ScopedFields,
): boolean =>
  prediction.appId === appId &&
  (restriction === null ||
    restriction.id === restrictionKey ||
    restriction.ids.includes(id) ||
    tags.some(tag => restriction.tags.includes(tag)))

type ScopedFields = Pick<Prediction, 'appId' | 'id' | 'tags' | 'restrictionKey'>
