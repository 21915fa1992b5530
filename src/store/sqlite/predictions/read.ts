/**
 * Reads predictions: one, many, a page, and the durations of finished ones.
 * Invariant: each request is one statement, however many rows it returns.
 */
import { canSee, type Scope } from '../../../domain/access-scope.ts'
import type { Prediction } from '../../../domain/prediction.ts'
import type { PredictionStore } from '../../store.ts'
import type { Db } from '../connection.ts'
import { and, desc, eq, lte, sql } from '../drizzle.ts'
import { COMPLETED } from '../predicates.ts'
import { jsonValues, prepare } from '../prepare.ts'
import { decodeJsonColumns, PUBLIC_COLUMNS, type SqliteRow, toPrediction } from '../row-mapping.ts'
import { predictions } from '../schema.ts'
import { scopeParameters, VISIBLE_BY_ID } from '../visibility.ts'
import { filterParameters } from './list-filter.ts'
import { createListStatements } from './list-query.ts'

/** Newest completed jobs in the median duration. */
const DURATION_SAMPLE_SIZE = 101

/** The prediction with this id; null if the scope can't see it. */
export type FindPrediction = (scope: Scope, id: string) => Prediction | null

export function createFindPrediction(db: Db): FindPrediction {
  const byId = prepare<SqliteRow>(
    db,
    sql`select ${PUBLIC_COLUMNS} from predictions where id = @id and app_id = @appId`,
  )
  return (scope, id) => {
    const raw = byId.get({ id, appId: scope.appId })
    const prediction = raw ? toPrediction(decodeJsonColumns(raw)) : null
    return prediction && canSee(scope, prediction) ? prediction : null
  }
}

export function createPredictionReads(
  db: Db,
  findPrediction: FindPrediction,
): Pick<PredictionStore, 'get' | 'getMany' | 'list' | 'medianDuration' | 'recentDurations'> {
  const byIds = prepare<SqliteRow>(
    db,
    sql`select ${PUBLIC_COLUMNS} from predictions where ${predictions.id} in ${jsonValues('@ids')} and ${VISIBLE_BY_ID}`,
  )
  const listStatement = createListStatements(db)

  return {
    get: async (scope, id) => findPrediction(scope, id),

    async getMany(scope, ids) {
      const rows = byIds.all({ ...scopeParameters(scope), ids: JSON.stringify(ids) })
      const found = new Map(rows.map(raw => [raw.id, toPrediction(decodeJsonColumns(raw))]))
      return ids.map(id => found.get(id) ?? null)
    },

    async list(scope, { limit, backward, after, before, filter }) {
      const rows = listStatement(scope, filter, backward ? 'asc' : 'desc').all({
        ...scopeParameters(scope),
        ...filterParameters({ after, before, filter }),
        limit: limit + 1,
      })
      const hasMore = rows.length > limit
      const predictions = rows.slice(0, limit).map(raw => toPrediction(decodeJsonColumns(raw)))
      return {
        predictions: backward ? predictions.reverse() : predictions,
        hasNextPage: backward ? before !== null : hasMore,
        hasPreviousPage: backward ? hasMore : after !== null,
      }
    },

    async medianDuration(model) {
      const durations = db
        .select({ ms: sql<number>`${predictions.finishedAt} - ${predictions.submittedAt}` })
        .from(predictions)
        .where(and(eq(predictions.model, model), COMPLETED))
        .orderBy(desc(predictions.finishedAt))
        .limit(DURATION_SAMPLE_SIZE)
        .all()
        .map(row => row.ms)
        .sort((a, b) => a - b)
      return durations[durations.length >> 1] ?? null
    },

    async recentDurations(model, limit, maxDurationMs) {
      const sentAt = sql<number>`coalesce(${predictions.submittedAt}, ${predictions.createdAt})`
      const durationMs = sql<number>`${predictions.finishedAt} - ${sentAt}`
      return db
        .select({
          from: sql<number>`coalesce(${predictions.lastSeenRunningAt}, ${sentAt}) - ${sentAt}`,
          to: durationMs,
        })
        .from(predictions)
        .where(and(eq(predictions.model, model), COMPLETED, lte(durationMs, maxDurationMs)))
        .orderBy(desc(predictions.finishedAt))
        .limit(limit)
        .all()
    },
  }
}
