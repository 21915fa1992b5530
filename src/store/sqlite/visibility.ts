/**
 * Which rows a read is about, in SQL: what its scope sees of what its filter lets through. The text knows none of their
 * values, so that it is prepared once; they come by name.
 * Invariant: the same meaning as `sees` and `matches`; property tests hold them together.
 */
import type { Scope } from '../../domain/access-scope.ts'
import type { PageRequest, Place } from '../store.ts'
import { type Column, type SQL, sql } from './drizzle.ts'
import { valuesOf } from './prepare.ts'
import { predictions } from './schema.ts'

const hasOneOf = (name: `@${string}`): SQL =>
  sql`exists (select 1 from json_each(${predictions.tags}) where value in ${valuesOf(name)})`

const IN_RESTRICTION = sql`(@only is null
  or ${predictions.space} = @only or ${predictions.id} in ${valuesOf('@onlyIds')} or ${hasOneOf('@onlyTags')})`

const listed = (values: readonly string[] | undefined): string | null =>
  values === undefined ? null : JSON.stringify([...new Set(values)])

/** What `@appId` and the rest of `scoped` see. */
export const VISIBLE = sql`${predictions.appId} = @appId and ${IN_RESTRICTION}`
/** The same, where rows are found by their ids: no index of the app's is any good then. */
export const VISIBLE_BY_ID = sql`+${predictions.appId} = @appId and ${IN_RESTRICTION}`

export const scoped = ({ appId, only }: Scope) => ({
  appId,
  only: only?.name ?? null,
  onlyIds: listed(only?.ids),
  onlyTags: listed(only?.tags),
})

/** By `passing`. */
export const between = (
  createdAt: Column,
  id: Column,
): SQL => sql`(${createdAt}, ${id}) < (@olderThan, @beforeId)
  and (${createdAt}, ${id}) > (@newerThan, @behindId)`
export const BETWEEN = between(predictions.createdAt, predictions.id)

/** But for the moments and the ids: those are ways to find a row. */
export const PASSES = sql`(@statuses is null or ${predictions.status} in ${valuesOf('@statuses')})
  and (@models is null or ${predictions.model} in ${valuesOf('@models')})
  and (@tags is null or ${hasOneOf('@tags')})`

export function passing({ after, before, filter }: Pick<PageRequest, 'after' | 'before' | 'filter'>) {
  const { createdAfter, createdBefore } = filter
  // A moment alone stands before, or behind, all places of it: the index has them in order.
  const newest = lower(after ?? NEWEST, createdBefore === undefined ? NEWEST : at(createdBefore, FIRST))
  const oldest = upper(before ?? OLDEST, createdAfter === undefined ? OLDEST : at(createdAfter, LAST))
  return {
    olderThan: newest.createdAt,
    beforeId: newest.id,
    newerThan: oldest.createdAt,
    behindId: oldest.id,
    ids: listed(filter.ids),
    statuses: listed(filter.statuses),
    models: listed(filter.models),
    tags: listed(filter.tags),
  }
}

const at = (createdAt: number, id: string): Place => ({ createdAt, id })
/** Before, and behind, all that an id may be. */
const FIRST = ''
const LAST = '~'
const NEWEST = at(Number.MAX_SAFE_INTEGER, LAST)
const OLDEST = at(Number.MIN_SAFE_INTEGER, FIRST)

const isLower = (a: Place, b: Place) =>
  a.createdAt < b.createdAt || (a.createdAt === b.createdAt && a.id < b.id)
const lower = (a: Place, b: Place) => (isLower(a, b) ? a : b)
const upper = (a: Place, b: Place) => (isLower(a, b) ? b : a)
