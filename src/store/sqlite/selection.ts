/**
 * Which rows a read is about, in SQL: what its scope sees of what its filter lets through.
 * Invariant: the same meaning as `sees` and `matches`; property tests hold them together.
 */
import type { Filter } from '../../filter.ts'
import type { Scope } from '../../scope.ts'
import type { Place } from '../store.ts'
import { and, eq, gt, inArray, lt, or, type SQL, sql } from './drizzle.ts'
import { predictions } from './tables.ts'

export const place = sql`(${predictions.createdAt}, ${predictions.id})`
export const at = ({ createdAt, id }: Place): SQL => sql`(${createdAt}, ${id})`

export const visible = ({ appId, only }: Scope): SQL =>
  and(
    eq(predictions.appId, appId),
    only === null
      ? undefined
      : or(tagged(only.tags), inArray(predictions.id, [...only.ids]), eq(predictions.space, only.name)),
  )!

export const passes = (filter: Filter): SQL | undefined =>
  and(
    filter.ids && inArray(predictions.id, [...filter.ids]),
    filter.statuses && inArray(predictions.status, [...filter.statuses]),
    filter.models && inArray(predictions.model, [...filter.models]),
    filter.tags && tagged(filter.tags),
    filter.createdAfter === undefined ? undefined : gt(predictions.createdAt, filter.createdAfter),
    filter.createdBefore === undefined ? undefined : lt(predictions.createdAt, filter.createdBefore),
  )

const tagged = (tags: readonly string[]): SQL =>
  sql`exists (select 1 from json_each(${predictions.tags}) where value in ${tags.length > 0 ? [...tags] : sql`()`})`
