/**
 * The SQL of a list's range and filter. Values are bound by name, so a statement is prepared once.
 * Invariant: same meaning as `matchesFilter`; property tests compare the two.
 */
import type { ListPosition, PageRequest } from '../../store.ts'
import { type Column, type SQL, sql } from '../drizzle.ts'
import { jsonValues } from '../prepare.ts'
import { predictions } from '../schema.ts'
import { hasAnyTag, toJsonSet } from '../visibility.ts'

/** Rows inside the range of a page; bind with `filterParameters`. */
export const isBetween = (
  createdAt: Column,
  id: Column,
): SQL => sql`(${createdAt}, ${id}) < (@upperCreatedAt, @upperId)
  and (${createdAt}, ${id}) > (@lowerCreatedAt, @lowerId)`
export const BETWEEN = isBetween(predictions.createdAt, predictions.id)

/** The filter without its times and ids: those choose the access path. */
export const MATCHES_FILTER = sql`(@statuses is null or ${predictions.status} in ${jsonValues('@statuses')})
  and (@models is null or ${predictions.model} in ${jsonValues('@models')})
  and (@tags is null or ${hasAnyTag('@tags')})`

export function filterParameters({
  after,
  before,
  filter,
}: Pick<PageRequest, 'after' | 'before' | 'filter'>) {
  const { createdAfter, createdBefore } = filter
  // A time without an id sorts before, or after, all positions at that time.
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
/** Sort before, and after, every possible id. */
const MIN_ID = ''
const MAX_ID = '~'
const NEWEST = positionAt(Number.MAX_SAFE_INTEGER, MAX_ID)
const OLDEST = positionAt(Number.MIN_SAFE_INTEGER, MIN_ID)

const isEarlier = (a: ListPosition, b: ListPosition) =>
  a.createdAt < b.createdAt || (a.createdAt === b.createdAt && a.id < b.id)
const earlier = (a: ListPosition, b: ListPosition) => (isEarlier(a, b) ? a : b)
const later = (a: ListPosition, b: ListPosition) => (isEarlier(a, b) ? b : a)
