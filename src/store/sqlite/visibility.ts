/**
 * The SQL of a scope: which rows it can see. Values are bound by name, so a statement is prepared once.
 * Invariant: same meaning as `canSee`; property tests compare the two.
 */
import type { Scope } from '../../domain/access-scope.ts'
import { type SQL, sql } from './drizzle.ts'
import { jsonValues } from './prepare.ts'
import { predictions } from './schema.ts'

/** Whether the row has a tag of the JSON list bound to `name`. */
export const hasAnyTag = (name: `@${string}`): SQL =>
  sql`exists (select 1 from json_each(${predictions.tags}) where value in ${jsonValues(name)})`

const IN_RESTRICTION = sql`(@restrictionKey is null
  or ${predictions.restrictionKey} = @restrictionKey or ${predictions.id} in ${jsonValues('@visibleIds')}
  or ${hasAnyTag('@visibleTags')})`

/** The distinct values as a JSON list; null if the list is missing. */
export const toJsonSet = (values: readonly string[] | undefined): string | null =>
  values === undefined ? null : JSON.stringify([...new Set(values)])

/** Rows visible to a scope; bind with `scopeParameters`. */
export const VISIBLE = sql`${predictions.appId} = @appId and ${IN_RESTRICTION}`
/** The same for rows found by id: `+` keeps SQLite from using an index of the app. */
export const VISIBLE_BY_ID = sql`+${predictions.appId} = @appId and ${IN_RESTRICTION}`

export const scopeParameters = ({ appId, restriction }: Scope) => ({
  appId,
  restrictionKey: restriction?.key ?? null,
  visibleIds: toJsonSet(restriction?.ids),
  visibleTags: toJsonSet(restriction?.tags),
})
