/**
 * Predictions as they are read, in SQLite: by their app, one, many, or a page of them; and what finished ones tell.
 * Invariant: whatever an app asks for is one statement, however many rows answer it.
 */
import { sees } from '../../../domain/access-scope.ts'
import type { Predictions } from '../../store.ts'
import type { Db } from '../connection.ts'
import { and, desc, eq, lte, sql } from '../drizzle.ts'
import { prepare, valuesOf } from '../prepare.ts'
import { decoded, type Raw, SAID, toPrediction } from '../row-mapping.ts'
import { COMPLETED, predictions } from '../schema.ts'
import { passing, scoped, VISIBLE_BY_ID } from '../visibility.ts'
import { createPages } from './list-query.ts'

/** Jobs the usual duration is learned from. */
const SAMPLE = 101

export function createReads(
  db: Db,
): Pick<Predictions, 'get' | 'getMany' | 'list' | 'usualDuration' | 'spans'> {
  const owned = prepare<Raw>(db, sql`select ${SAID} from predictions where id = @id and app_id = @appId`)
  const many = prepare<Raw>(
    db,
    sql`select ${SAID} from predictions where ${predictions.id} in ${valuesOf('@ids')} and ${VISIBLE_BY_ID}`,
  )
  const pageOf = createPages(db)

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
      const rows = pageOf(scope, filter, backward ? 'asc' : 'desc').all({
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
