/**
 * Which rows a read is about, in SQL: what its scope sees of what its filter lets through. The text knows none of their
 * values, so that it is prepared once; they come by name.
 * Invariant: the same meaning as `sees` and `matches`; property tests hold them together.
 */
import type { Scope } from '../../domain/access-scope.ts'
import type { ListPosition, PageRequest } from '../store.ts'
import { type Column, type SQL, sql } from './drizzle.ts'
import { jsonValues } from './prepare.ts'
import { predictions } from './schema.ts'

const hasAnyTag = (name: `@${string}`): SQL =>
  sql`exists (select 1 from json_each(${predictions.tags}) where value in ${jsonValues(name)})`

const IN_RESTRICTION = sql`(@restrictionKey is null
  or ${predictions.restrictionKey} = @restrictionKey or ${predictions.id} in ${jsonValues('@visibleIds')} or ${hasAnyTag('@visibleTags')})`

const toJsonSet = (values: readonly string[] | undefined): string | null =>
  values === undefined ? null : JSON.stringify([...new Set(values)])

/** What `@appId` and the rest of `scoped` see. */
export const VISIBLE = sql`${predictions.appId} = @appId and ${IN_RESTRICTION}`
/** The same, where rows are found by their ids: no index of the app's is any good then. */
export const VISIBLE_BY_ID = sql`+${predictions.appId} = @appId and ${IN_RESTRICTION}`

export const scopeParameters = ({ appId, restriction }: Scope) => ({
  appId,
  restrictionKey: restriction?.id ?? null,
  visibleIds: toJsonSet(restriction?.ids),
  visibleTags: toJsonSet(restriction?.tags),
})

/** By `passing`. */
export const isBetween = (
  createdAt: Column,
  id: Column,
): SQL => sql`(${createdAt}, ${id}) < (@upperCreatedAt, @upperId)
  and (${createdAt}, ${id}) > (@lowerCreatedAt, @lowerId)`
export const BETWEEN = isBetween(predictions.createdAt, predictions.id)

/** But for the moments and the ids: those are ways to find a row. */
export const MATCHES_FILTER = sql`(@statuses is null or ${predictions.status} in ${jsonValues('@statuses')})
  and (@models is null or ${predictions.model} in ${jsonValues('@models')})
  and (@tags is null or ${hasAnyTag('@tags')})`

export function filterParameters({
  after,
  before,
  filter,
}: Pick<PageRequest, 'after' | 'before' | 'filter'>) {
  const { createdAfter, createdBefore } = filter
  // A moment alone stands before, or behind, all places of it: the index has them in order.
  const upperBound = earlier(
    after ?? NEWEST,
    createdBefore === undefined ? NEWEST : positionAt(createdBefore, MIN_ID),
  )
  const lowerBound = later(
    before ?? OLDEST,
    createdAfter === undefined ? OLDEST : positionAt(createdAfter, MAX_ID),
  )
  return {
    upperCreatedAt: upperBound.createdAt,
    upperId: upperBound.id,
    lowerCreatedAt: lowerBound.createdAt,
    lowerId: lowerBound.id,
    ids: toJsonSet(filter.ids),
    statuses: toJsonSet(filter.statuses),
    models: toJsonSet(filter.models),
    tags: toJsonSet(filter.tags),
  }
}

const positionAt = (createdAt: number, id: string): ListPosition => ({ createdAt, id })
/** Before, and behind, all that an id may be. */
const MIN_ID = ''
const MAX_ID = '~'
const NEWEST = positionAt(Number.MAX_SAFE_INTEGER, MAX_ID)
const OLDEST = positionAt(Number.MIN_SAFE_INTEGER, MIN_ID)

const isEarlier = (a: ListPosition, b: ListPosition) =>
  a.createdAt < b.createdAt || (a.createdAt === b.createdAt && a.id < b.id)
const earlier = (a: ListPosition, b: ListPosition) => (isEarlier(a, b) ? a : b)
const later = (a: ListPosition, b: ListPosition) => (isEarlier(a, b) ? b : a)
