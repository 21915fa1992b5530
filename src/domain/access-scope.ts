/**
 * Access of a caller to its app's predictions: all of them with a key, some of them with a restricted token. Pure.
 * Invariant: every read names a scope, and a scope names its app. A prediction outside the scope seems not to exist.
 */
import { createHash } from 'node:crypto'
import type { AppId, Prediction } from './prediction.ts'

export interface Scope {
  readonly appId: AppId
  /** Null: all of the app's predictions. */
  readonly restriction: Restriction | null
  /** Key of the restriction; empty without one. Submits and uploads are stored with it. */
  readonly restrictionKey: string
}

/** A prediction is visible if any one of these matches. */
export interface Restriction {
  readonly tags: readonly string[]
  readonly ids: readonly string[]
  /** Hash of tags and ids. Predictions submitted under the same restriction are visible, too. */
  readonly key: string
}

export const PERMISSIONS = ['READ', 'SUBMIT'] as const
export type Permission = (typeof PERMISSIONS)[number]

/** The tags that a token adds to its submits, and how many submits there may be. */
export interface Grant {
  readonly tokenId: string
  /** Tags added to everything that the token submits. */
  readonly tags: readonly string[]
  readonly maxSubmits: number
}

export interface Access {
  readonly scope: Scope
  /** A key has every permission. */
  readonly permissions: readonly Permission[]
  /** Null: the caller has a key of the app. */
  readonly grant: Grant | null
  /** The visible prefix of the key, or of the key that minted the token. */
  readonly keyPrefix: string
  /** Expiry of a token. Null for a key: the expiry is in its row and may change. */
  readonly expiresAt: number | null
}

export const createScope = (appId: AppId, restriction: Restriction | null): Scope => ({
  appId,
  restriction,
  restrictionKey: restriction?.key ?? '',
})

export const fullScope = (appId: AppId): Scope => createScope(appId, null)

/** Uploads are for submits: a token that may not submit may not upload. */
export const mayUpload = ({ permissions, grant }: Pick<Access, 'permissions' | 'grant'>): boolean =>
  permissions.includes('SUBMIT') && grant?.maxSubmits !== 0

/**
 * Whether a caller that got hold of a prediction may learn how it goes on. A token without READ learns it only of what
 * it submitted itself and of the ids that it was minted for: an idempotency key can be guessed.
 */
export const mayFollow = (
  { permissions, grant, scope }: Pick<Access, 'permissions' | 'grant' | 'scope'>,
  { id, tokenId }: Pick<Prediction, 'id' | 'tokenId'>,
): boolean =>
  permissions.includes('READ') ||
  (grant !== null && grant.tokenId === tokenId) ||
  scope.restriction?.ids.includes(id) === true

/** The first tag in the key of a token without READ. Stored keys have it: do not change it. */
const WRITE_ONLY = 'without READ'

/** Returns the same restriction for the same tags and ids, in any order. */
export function createRestriction(tags: readonly string[], ids: readonly string[]): Restriction {
  const sorted = sortedSets(tags, ids)
  // An app may have this tag, and its tokens must not share the key of tokens without READ.
  const key = sorted.tags.includes(WRITE_ONLY)
    ? restrictionKey(['with READ', sorted.tags, sorted.ids])
    : restrictionKey([sorted.tags, sorted.ids])
  return { ...sorted, key }
}

/**
 * Restriction of a token without READ: it sees the given ids, and predictions that such tokens have submitted.
 * The same holds for the results of its mutations, as far as `mayFollow` lets them.
 */
export function writeOnlyRestriction(tags: readonly string[], ids: readonly string[]): Restriction {
  const named = sortedSets([WRITE_ONLY, ...tags.map(tag => `tag ${tag}`)], ids)
  return { tags: [], ids: named.ids, key: restrictionKey([named.tags, named.ids]) }
}

const sortedSets = (tags: readonly string[], ids: readonly string[]) => ({
  tags: [...new Set(tags)].sort(),
  ids: [...new Set(ids)].sort(),
})

const restrictionKey = (parts: readonly unknown[]): string =>
  createHash('sha256').update(JSON.stringify(parts)).digest('base64url').slice(0, 22)

/** Definition of a scope's visibility. A property test compares the store's SQL with it. */
export const canSee = (
  { appId, restriction }: Scope,
  { id, tags, restrictionKey, ...prediction }: ScopedFields,
): boolean =>
  prediction.appId === appId &&
  (restriction === null ||
    restriction.key === restrictionKey ||
    restriction.ids.includes(id) ||
    tags.some(tag => restriction.tags.includes(tag)))

type ScopedFields = Pick<Prediction, 'appId' | 'id' | 'tags' | 'restrictionKey'>
