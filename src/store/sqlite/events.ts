/**
 * What has happened, in SQLite: the log's ends, what came after a cursor, and its pruning.
 * Invariant: each answer is read in one transaction, so no event can fall between the parts of an answer.
 */
import { type Scope, sees } from '../../scope.ts'
import type { Events, EventsAnswer } from '../store.ts'
import type { Db } from './database.ts'
import { and, asc, eq, gt, lte, type SQL, sql } from './drizzle.ts'
import { toPrediction } from './rows.ts'
import { events, predictions } from './tables.ts'

export function createEvents(db: Db): Events {
  const head = db
    .select({ seq: sql<number>`seq` })
    .from(sql`sqlite_sequence`)
    .where(sql`name = 'events'`)
    .prepare()
  const oldest = db.select({ seq: events.seq }).from(events).orderBy(asc(events.seq)).limit(1).prepare()

  const bounds = () => {
    const newest = head.get()?.seq ?? 0
    return { head: newest, floor: (oldest.get()?.seq ?? newest + 1) - 1 }
  }

  const behind = (...which: SQL[]) =>
    db
      .select()
      .from(events)
      .innerJoin(predictions, eq(predictions.id, events.predictionId))
      .where(and(...which, gt(events.seq, sql.placeholder('after'))))
      .orderBy(asc(events.seq))
      .limit(sql.placeholder('limit'))
      .prepare()
  const ofAll = behind()
  const ofApp = behind(eq(events.appId, sql.placeholder('appId')))
  const ofPrediction = behind(
    eq(events.appId, sql.placeholder('appId')),
    eq(events.predictionId, sql.placeholder('predictionId')),
  )

  /** In the transaction that read the rows. */
  function answer(
    rows: ReturnType<typeof ofAll.all>,
    after: number,
    limit: number,
    scope: Scope | null,
  ): EventsAnswer {
    const { head, floor } = bounds()
    const all = rows.map(({ events: event, predictions: row }) => ({
      seq: event.seq,
      type: event.type,
      previousStatus: event.previousStatus,
      occurredAt: event.occurredAt,
      prediction: toPrediction(row, event.standing),
    }))
    return {
      events: scope === null ? all : all.filter(({ prediction }) => sees(scope, prediction)),
      through: rows.length < limit ? Math.max(after, head) : rows.at(-1)!.events.seq,
      floor,
    }
  }

  return {
    eventBounds: async () => db.transaction(bounds),

    eventsAfter: async ({ scope, after, limit, predictionId }) =>
      db.transaction(() => {
        const { appId } = scope
        const rows =
          predictionId === undefined
            ? ofApp.all({ appId, after, limit })
            : ofPrediction.all({ appId, after, limit, predictionId })
        return answer(rows, after, limit, scope)
      }),

    logAfter: async (after, limit) =>
      db.transaction(() => answer(ofAll.all({ after, limit }), after, limit, null)),

    async snapshot(scope, id) {
      return db.transaction(tx => {
        const row = tx
          .select()
          .from(predictions)
          .where(and(eq(predictions.id, id), eq(predictions.appId, scope.appId)))
          .get()
        return row && sees(scope, toPrediction(row))
          ? { prediction: toPrediction(row), head: bounds().head }
          : null
      })
    },

    async pruneEvents(before, limit, last = Number.MAX_SAFE_INTEGER) {
      return db.transaction(
        tx => {
          const oldestFirst = tx
            .select({ seq: events.seq, occurredAt: events.occurredAt })
            .from(events)
            .orderBy(asc(events.seq))
            .limit(limit)
            .all()
          const kept = oldestFirst.findIndex(event => event.occurredAt >= before || event.seq > last)
          const newest = oldestFirst.at(kept === -1 ? -1 : kept - 1)
          if (kept === 0 || newest === undefined) return 0
          return tx.delete(events).where(lte(events.seq, newest.seq)).run().changes
        },
        { behavior: 'immediate' },
      )
    },
  }
}
