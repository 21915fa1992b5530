/**
 * The statement that reads a page, in SQLite: it goes along the list, in its order, by the index of what is asked for, and
 * stops where the page is full. What is rare is so found as soon after 100,000 predictions as after 1,000.
 * Invariant: a way only finds rows: whatever else is asked is judged of each before it counts for the page.
 */
import type { Statement } from 'better-sqlite3'
import type { Scope } from '../../../domain/access-scope.ts'
import { STATUSES } from '../../../domain/prediction.ts'
import type { Filter } from '../../../domain/prediction-filter.ts'
import type { Db } from '../connection.ts'
import { type SQL, sql } from '../drizzle.ts'
import { prepare, valuesOf } from '../prepare.ts'
import { type Raw, SAID } from '../row-mapping.ts'
import { IN_SPACE, predictions, tagged } from '../schema.ts'
import { BETWEEN, between, PASSES, VISIBLE, VISIBLE_BY_ID } from '../visibility.ts'

type Direction = 'asc' | 'desc'
/** What rows may be found by. */
type Way = 'tags' | 'scope' | 'statuses'
/** Each with the number of values that its text has room for. */
type Ways = Partial<Record<Way, number>>
type Pages = (scope: Scope, filter: Filter, direction: Direction) => Statement<[object?], Raw>

/** Tags that a text has room for, so that few are made and kept: one of 100 takes 0.5 MB. A token has 10 at most, a filter 100. */
const SIZES = [1, 10, 100]
/** Rows of each way that are counted, some 15 µs: where there are two, the one with fewer is gone. */
const MANY = 250

export function createPages(db: Db): Pages {
  const first = (direction: Direction) => sql`
    order by ${predictions.createdAt} ${sql.raw(direction)}, ${predictions.id} ${sql.raw(direction)} limit @limit`
  const paging = (from: (direction: Direction) => SQL) => {
    const page = (direction: Direction) =>
      prepare<Raw>(db, sql`select ${SAID} from ${from(direction)} ${first(direction)}`)
    return { asc: page('asc'), desc: page('desc') }
  }
  // What is asked most: to ask of each row for what is not limited would be a third of its time.
  const whole = paging(() => sql`predictions where ${predictions.appId} = @appId and ${BETWEEN}`)
  const some = paging(() => sql`predictions where ${VISIBLE} and ${BETWEEN} and ${PASSES}`)
  const byIds = paging(
    () => sql`predictions where ${predictions.id} in ${valuesOf('@ids')}
      and ${VISIBLE_BY_ID} and ${BETWEEN} and ${PASSES}`,
  )
  /** A page's worth of each: one that is rare would else be looked for in all that the app ever had. */
  const byStatus = paging(
    direction => sql`json_each(@statuses) asked cross join predictions on predictions.rowid in (
      select rowid from predictions indexed by predictions_by_status
      where ${predictions.status} = asked.value and ${VISIBLE} and ${BETWEEN} and ${PASSES} ${first(direction)}
    )`,
  )
  const known = new Map<string, Statement<[object?], Raw>>()
  const along = (ways: Ways, isJudged: boolean, direction: Direction) => {
    const shape = JSON.stringify([ways, isJudged, direction])
    const page = known.get(shape) ?? prepare<Raw>(db, textOf(ways, isJudged, direction))
    known.set(shape, page)
    return page
  }

  return ({ only }, { ids, statuses, models, tags }, direction) => {
    if (ids) return byIds[direction]
    if (only === null && !tags) return (statuses ? byStatus : models ? some : whole)[direction]
    // Of two with many the first: tags that are asked for are rarer than all that a token may see.
    const ways: Ways = {
      ...(tags && { tags: sizeOf(tags) }),
      ...(only && { scope: sizeOf(only.tags) }),
      ...(statuses && { statuses: STATUSES.length }),
    }
    return along(ways, Object.keys(ways).length > 1 || models !== undefined, direction)
  }
}

const sizeOf = ({ length }: readonly string[]) => SIZES.find(size => size >= length) ?? length

/**
 * A way is some ranges of indices, each in the order of the list. SQLite merges them as it goes, passes once what is in two,
 * and reads no further than the page does.
 */
function textOf(ways: Ways, isJudged: boolean, direction: Direction): SQL {
  const inOrder = (createdAt: string, id: string) =>
    sql.raw(`order by ${createdAt} ${direction}, ${id} ${direction}`)
  // Ranges that have no limit would be read whole, and sorted.
  const pageOf = (way: Way, size: number, limit: SQL) => sql`select ${SAID} from (
      ${sql.join(RANGES[way](size), sql` union `)} ${inOrder('created_at', 'id')} limit ${limit}
    ) found cross join predictions on ${predictions.id} = found.id
    ${isJudged ? sql`where ${VISIBLE_BY_ID} and ${PASSES}` : sql``}
    ${inOrder('found.created_at', 'found.id')} limit @limit`

  const sizes = Object.entries(ways) as [Way, number][]
  if (sizes.length === 1) return pageOf(...sizes[0]!, sql`-1`)
  const counts = sizes.map(([way], i) => sql`(${i}, (select count(*) from (${ROWS[way]} limit ${MANY})))`)
  const pages = sizes.map(([way, size], i) => {
    const limit = sql`(select case way when ${i} then -1 else 0 end from least)`
    return sql`select * from (${pageOf(way, size, limit)})`
  })
  return sql`with least as materialized (
      select column1 as way from (values ${sql.join(counts, sql`, `)}) order by column2, column1 limit 1
    ) ${sql.join(pages, sql` union all `)} ${inOrder('createdAt', 'id')}`
}

const TAGGED_BETWEEN = between(tagged.createdAt, tagged.predictionId)
const withTag = (is: SQL) =>
  sql`tagged where ${tagged.appId} = @appId and ${tagged.tag} ${is} and ${TAGGED_BETWEEN}`
const IN_ITS_SPACE = sql`predictions indexed by predictions_by_space
  where ${predictions.appId} = @appId and ${predictions.space} = @only and ${IN_SPACE} and ${BETWEEN}`
const withStatus = (is: SQL) => sql`predictions indexed by predictions_by_status
  where ${predictions.appId} = @appId and ${predictions.status} ${is} and ${BETWEEN}`

const anyOf = (name: `@${string}`) => sql`in ${valuesOf(name)}`
const ROWS: Record<Way, SQL> = {
  scope: sql`select 1 from ${withTag(anyOf('@onlyTags'))} union all select 1 from ${IN_ITS_SPACE}`,
  tags: sql`select 1 from ${withTag(anyOf('@tags'))}`,
  statuses: sql`select 1 from ${withStatus(anyOf('@statuses'))}`,
}

const PLACE = sql`select ${predictions.createdAt} as created_at, ${predictions.id} as id from`
const PLACE_OF_TAG = sql`select ${tagged.createdAt} as created_at, ${tagged.predictionId} as id from`
/** One for each place in a list; where it has none the value is null, and no row's. */
const ofEach = (name: `@${string}`, size: number, range: (is: SQL) => SQL) =>
  Array.from({ length: size }, (_, k) => range(sql`= (${sql.raw(name)} ->> ${k})`))
const RANGES: Record<Way, (size: number) => SQL[]> = {
  scope: size => [
    sql`${PLACE} predictions where ${predictions.id} in ${valuesOf('@onlyIds')}
      and +${predictions.appId} = @appId and ${BETWEEN}`,
    sql`${PLACE} ${IN_ITS_SPACE}`,
    ...ofEach('@onlyTags', size, is => sql`${PLACE_OF_TAG} ${withTag(is)}`),
  ],
  tags: size => ofEach('@tags', size, is => sql`${PLACE_OF_TAG} ${withTag(is)}`),
  statuses: size => ofEach('@statuses', size, is => sql`${PLACE} ${withStatus(is)}`),
}
