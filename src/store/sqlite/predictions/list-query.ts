/**
 * The list statement: it walks the list in order along the cheapest index and stops when the page is full. A rare
 * match is found as fast among 100,000 predictions as among 1,000.
 * Invariant: an access path only finds candidates. All other conditions are checked on each row before it counts for
 * the page.
 */
import type { Statement } from 'better-sqlite3'
import type { Scope } from '../../../domain/access-scope.ts'
import { STATUSES } from '../../../domain/prediction.ts'
import type { Filter } from '../../../domain/prediction-filter.ts'
import type { Db } from '../connection.ts'
import { type SQL, sql } from '../drizzle.ts'
import { HAS_RESTRICTION } from '../predicates.ts'
import { jsonValues, prepare } from '../prepare.ts'
import { PUBLIC_COLUMNS, type SqliteRow } from '../row-mapping.ts'
import { predictions, predictionTags } from '../schema.ts'
import { VISIBLE, VISIBLE_BY_ID } from '../visibility.ts'
import { BETWEEN, isBetween, MATCHES_FILTER } from './list-filter.ts'

type Direction = 'asc' | 'desc'
/** An index by which rows can be found. */
type AccessPath = 'tags' | 'scope' | 'statuses'
/** Each with the number of values for which the statement has room. */
type AccessPaths = Partial<Record<AccessPath, number>>
type ListStatements = (scope: Scope, filter: Filter, direction: Direction) => Statement<[object?], SqliteRow>

/**
 * Values a statement has room for, so that few statements are cached: one of 100 takes 0.5 MB. A token has at most 10
 * tags, a filter 100.
 */
const VALUE_COUNTS = [1, 10, 100]
/** Max rows counted on each path (about 15 µs) to choose the path with fewer. */
const MAX_COUNTED_ROWS = 250

export function createListStatements(db: Db): ListStatements {
  const orderAndLimit = (direction: Direction) => sql`
    order by ${predictions.createdAt} ${sql.raw(direction)}, ${predictions.id} ${sql.raw(direction)} limit @limit`
  const prepareBothDirections = (from: (direction: Direction) => SQL) => {
    const page = (direction: Direction) =>
      prepare<SqliteRow>(
        db,
        sql`select ${PUBLIC_COLUMNS} from ${from(direction)} ${orderAndLimit(direction)}`,
      )
    return { asc: page('asc'), desc: page('desc') }
  }
  // The most frequent list: checking conditions that do not apply would take a third of its time.
  const unfiltered = prepareBothDirections(
    () => sql`predictions where ${predictions.appId} = @appId and ${BETWEEN}`,
  )
  const filtered = prepareBothDirections(
    () => sql`predictions where ${VISIBLE} and ${BETWEEN} and ${MATCHES_FILTER}`,
  )
  const byIds = prepareBothDirections(
    () => sql`predictions where ${predictions.id} in ${jsonValues('@ids')}
      and ${VISIBLE_BY_ID} and ${BETWEEN} and ${MATCHES_FILTER}`,
  )
  /** Reads one page of each status: a rare one would otherwise be searched in all rows of the app. */
  const byStatus = prepareBothDirections(
    direction => sql`json_each(@statuses) requested cross join predictions on predictions.rowid in (
      select rowid from predictions indexed by predictions_by_status
      where ${predictions.status} = requested.value and ${VISIBLE} and ${BETWEEN} and ${MATCHES_FILTER}
      ${orderAndLimit(direction)}
    )`,
  )
  const statements = new Map<string, Statement<[object?], SqliteRow>>()
  const forPaths = (paths: AccessPaths, needsFilter: boolean, direction: Direction) => {
    const cacheKey = JSON.stringify([paths, needsFilter, direction])
    const page =
      statements.get(cacheKey) ?? prepare<SqliteRow>(db, mergedQuery(paths, needsFilter, direction))
    statements.set(cacheKey, page)
    return page
  }

  return ({ restriction }, { ids, statuses, models, tags }, direction) => {
    if (ids) return byIds[direction]
    if (restriction === null && !tags)
      return (statuses ? byStatus : models ? filtered : unfiltered)[direction]
    // On a tie the first path is used: filter tags are rarer than all that a token may see.
    const paths: AccessPaths = {
      ...(tags && { tags: valueCountFor(tags) }),
      ...(restriction && { scope: valueCountFor(restriction.tags) }),
      ...(statuses && { statuses: STATUSES.length }),
    }
    return forPaths(paths, Object.keys(paths).length > 1 || models !== undefined, direction)
  }
}

const valueCountFor = ({ length }: readonly string[]) => VALUE_COUNTS.find(size => size >= length) ?? length

/**
 * A path is a set of index ranges, each in list order. SQLite merges them, removes duplicates, and reads no further
 * than the page needs.
 */
function mergedQuery(paths: AccessPaths, needsFilter: boolean, direction: Direction): SQL {
  const orderBy = (createdAt: string, id: string) =>
    sql.raw(`order by ${createdAt} ${direction}, ${id} ${direction}`)
  // Without a limit the ranges would be read whole and sorted.
  const pageByPath = (path: AccessPath, size: number, limit: SQL) => sql`select ${PUBLIC_COLUMNS} from (
      ${sql.join(PATH_RANGES[path](size), sql` union `)} ${orderBy('created_at', 'id')} limit ${limit}
    ) matched cross join predictions on ${predictions.id} = matched.id
    ${needsFilter ? sql`where ${VISIBLE_BY_ID} and ${MATCHES_FILTER}` : sql``}
    ${orderBy('matched.created_at', 'matched.id')} limit @limit`

  const sizes = Object.entries(paths) as [AccessPath, number][]
  if (sizes.length === 1) return pageByPath(...sizes[0]!, sql`-1`)
  const counts = sizes.map(
    ([path], i) => sql`(${i}, (select count(*) from (${PATH_ROWS[path]} limit ${MAX_COUNTED_ROWS})))`,
  )
  const pages = sizes.map(([path, size], i) => {
    const limit = sql`(select case path when ${i} then -1 else 0 end from cheapest)`
    return sql`select * from (${pageByPath(path, size, limit)})`
  })
  return sql`with cheapest as materialized (
      select column1 as path from (values ${sql.join(counts, sql`, `)}) order by column2, column1 limit 1
    ) ${sql.join(pages, sql` union all `)} ${orderBy('createdAt', 'id')}`
}

const TAG_BETWEEN = isBetween(predictionTags.createdAt, predictionTags.predictionId)
const rowsWithTag = (condition: SQL) =>
  sql`prediction_tags where ${predictionTags.appId} = @appId and ${predictionTags.tag} ${condition} and ${TAG_BETWEEN}`
const ROWS_OF_RESTRICTION = sql`predictions indexed by predictions_by_restriction
  where ${predictions.appId} = @appId and ${predictions.restrictionKey} = @restrictionKey and ${HAS_RESTRICTION}
    and ${BETWEEN}`
const rowsWithStatus = (condition: SQL) => sql`predictions indexed by predictions_by_status
  where ${predictions.appId} = @appId and ${predictions.status} ${condition} and ${BETWEEN}`

const inJsonValues = (name: `@${string}`) => sql`in ${jsonValues(name)}`
const PATH_ROWS: Record<AccessPath, SQL> = {
  scope: sql`select 1 from ${rowsWithTag(inJsonValues('@visibleTags'))} union all select 1 from ${ROWS_OF_RESTRICTION}`,
  tags: sql`select 1 from ${rowsWithTag(inJsonValues('@tags'))}`,
  statuses: sql`select 1 from ${rowsWithStatus(inJsonValues('@statuses'))}`,
}

const SELECT_POSITION = sql`select ${predictions.createdAt} as created_at, ${predictions.id} as id from`
const SELECT_TAG_POSITION = sql`
  select ${predictionTags.createdAt} as created_at, ${predictionTags.predictionId} as id from`
/** Makes one range for each value slot. The value of an empty slot is null and matches no row. */
const rangePerValue = (name: `@${string}`, size: number, range: (condition: SQL) => SQL) =>
  Array.from({ length: size }, (_, i) => range(sql`= (${sql.raw(name)} ->> ${i})`))
const PATH_RANGES: Record<AccessPath, (size: number) => SQL[]> = {
  scope: size => [
    sql`${SELECT_POSITION} predictions where ${predictions.id} in ${jsonValues('@visibleIds')}
      and +${predictions.appId} = @appId and ${BETWEEN}`,
    sql`${SELECT_POSITION} ${ROWS_OF_RESTRICTION}`,
    ...rangePerValue(
      '@visibleTags',
      size,
      condition => sql`${SELECT_TAG_POSITION} ${rowsWithTag(condition)}`,
    ),
  ],
  tags: size =>
    rangePerValue('@tags', size, condition => sql`${SELECT_TAG_POSITION} ${rowsWithTag(condition)}`),
  statuses: size =>
    rangePerValue('@statuses', size, condition => sql`${SELECT_POSITION} ${rowsWithStatus(condition)}`),
}
