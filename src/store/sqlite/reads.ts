/**
 * Predictions as they are read, in SQLite: by their app, one, many, or a page of them; and what finished ones tell.
 * Invariant: whatever an app asks for is one statement, however many rows answer it.
 */
import type { Filter } from '../../filter.ts'
import { type Scope, sees } from '../../scope.ts'
import type { Predictions } from '../store.ts'
import type { Db } from './database.ts'
import { and, desc, eq, lte, type SQL, sql } from './drizzle.ts'
import { decoded, type Raw, SAID, toPrediction } from './rows.ts'
import { BETWEEN, isNamed, NAMED, PASSES, passing, scoped, VISIBLE, VISIBLE_BY_ID } from './selection.ts'
import { prepare, valuesOf } from './statement.ts'
import { COMPLETED, predictions } from './tables.ts'

/** Jobs the usual duration is learned from. */
const SAMPLE = 101

export function createReads(
  db: Db,
): Pick<Predictions, 'get' | 'getMany' | 'list' | 'usualDuration' | 'spans'> {
  const owned = prepare<Raw>(db, sql`select ${SAID} from predictions where id = @id and app_id = @appId`)
  const asked = sql`${predictions.id} in ${valuesOf('@ids')}`
  const many = prepare<Raw>(db, sql`select ${SAID} from predictions where ${asked} and ${VISIBLE_BY_ID}`)

  const page = (from: SQL, direction: SQL) =>
    prepare<Raw>(db, sql`select ${SAID} from ${from} ${first(direction)}`)
  const first = (direction: SQL) => sql`
    order by ${predictions.createdAt} ${direction}, ${predictions.id} ${direction} limit @limit`
  const paging = (from: (direction: SQL) => SQL) => {
    const [asc, desc] = [sql`asc`, sql`desc`]
    return { forward: page(from(desc), desc), backward: page(from(asc), asc) }
  }
  // What is asked most: to ask of each row for what is not limited would be a third of its time.
  const whole = paging(() => sql`predictions where ${predictions.appId} = @appId and ${BETWEEN}`)
  const some = paging(() => sql`predictions where ${VISIBLE} and ${BETWEEN} and ${PASSES}`)
  const byIds = paging(
    () => sql`predictions where ${asked} and ${VISIBLE_BY_ID} and ${BETWEEN} and ${PASSES}`,
  )
  const named = paging(() => sql`predictions where ${NAMED} and ${BETWEEN} and ${PASSES}`)
  /** A page's worth of each: one that is rare would else be looked for in all that the app ever had. */
  const byStatus = paging(
    direction => sql`json_each(@statuses) asked cross join predictions on predictions.rowid in (
      select rowid from predictions indexed by predictions_by_status
      where ${predictions.status} = asked.value and ${VISIBLE} and ${BETWEEN} and ${PASSES} ${first(direction)}
    )`,
  )

  function pagesOf(scope: Scope, { ids, statuses, models, tags }: Filter) {
    if (ids) return byIds
    if (isNamed(scope)) return named
    if (statuses) return byStatus
    return scope.only === null && !models && !tags ? whole : some
  }

  return {
    async get(scope, id) {
      const raw = owned.get({ id, appId: scope.appId })
      const prediction = raw ? toPrediction(decoded(raw)) : null
      return prediction && sees(scope, prediction) ? prediction : null
    },

    async getMany(scope, ids) {
      const rows = many.all({ ...scoped(scope), ids: JSON.stringify(ids) })
      const found = new Map(rows.map(raw => [raw.id, toPrediction(decoded(raw))]))
      return ids.map(id => found.get(id) ?? null)
    },

    async list(scope, { limit, backward, after, before, filter }) {
      const pages = pagesOf(scope, filter)
      const rows = pages[backward ? 'backward' : 'forward'].all({
        ...scoped(scope),
        ...passing({ after, before, filter }),
        limit: limit + 1,
      })
      const more = rows.length > limit
      const predictions = rows.slice(0, limit).map(raw => toPrediction(decoded(raw)))
      return {
        predictions: backward ? predictions.reverse() : predictions,
        hasNextPage: backward ? before !== null : more,
        hasPreviousPage: backward ? more : after !== null,
      }
    },

    async usualDuration(model) {
      const durations = db
        .select({ ms: sql<number>`${predictions.finishedAt} - ${predictions.submittedAt}` })
        .from(predictions)
        .where(and(eq(predictions.model, model), COMPLETED))
        .orderBy(desc(predictions.finishedAt))
        .limit(SAMPLE)
        .all()
        .map(row => row.ms)
        .sort((a, b) => a - b)
      return durations[durations.length >> 1] ?? null
    },

    async spans(model, limit, longestMs) {
      const sent = sql<number>`coalesce(${predictions.submittedAt}, ${predictions.createdAt})`
      const took = sql<number>`${predictions.finishedAt} - ${sent}`
      return db
        .select({
          from: sql<number>`coalesce(${predictions.runningAt}, ${sent}) - ${sent}`,
          to: took,
        })
        .from(predictions)
        .where(and(eq(predictions.model, model), COMPLETED, lte(took, longestMs)))
        .orderBy(desc(predictions.finishedAt))
        .limit(limit)
        .all()
    },
  }
}
