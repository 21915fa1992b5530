/**
 * What has happened, in SQLite: the log's ends, what came after a cursor, and its pruning.
 * Invariant: each answer is read in one transaction, so no event can fall between the parts of an answer.
 */
import { and, asc, eq, gt, lte, sql } from 'drizzle-orm'
import type { AppId } from '../../prediction.ts'
import type { Events } from '../store.ts'
import type { Db } from './database.ts'
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

  return {
    eventBounds: async () => db.transaction(bounds),

    async eventsAfter({ appId, after, limit, predictionId }) {
      return db.transaction(tx => {
        const { head, floor } = bounds()
        const rows = tx
          .select()
          .from(events)
          .innerJoin(predictions, eq(predictions.id, events.predictionId))
          .where(
            and(
              eq(events.appId, appId),
              gt(events.seq, after),
              predictionId === undefined ? undefined : eq(events.predictionId, predictionId),
            ),
          )
          .orderBy(asc(events.seq))
          .limit(limit)
          .all()
        return {
          events: rows.map(({ events: event, predictions: row }) => ({
            seq: event.seq,
            type: event.type,
            previousStatus: event.previousStatus,
            occurredAt: event.occurredAt,
            prediction: toPrediction(row, event.standing),
          })),
          through: rows.length < limit ? Math.max(after, head) : rows.at(-1)!.events.seq,
          floor,
        }
      })
    },

    async snapshot(appId: AppId, id: string) {
      return db.transaction(tx => {
        const row = tx
          .select()
          .from(predictions)
          .where(and(eq(predictions.id, id), eq(predictions.appId, appId)))
          .get()
        return row ? { prediction: toPrediction(row), head: bounds().head } : null
      })
    },

    async pruneEvents(before, limit) {
      return db.transaction(
        tx => {
          const oldestFirst = tx
            .select({ seq: events.seq, occurredAt: events.occurredAt })
            .from(events)
            .orderBy(asc(events.seq))
            .limit(limit)
            .all()
          const kept = oldestFirst.findIndex(event => event.occurredAt >= before)
          const last = oldestFirst.at(kept === -1 ? -1 : kept - 1)
          if (kept === 0 || last === undefined) return 0
          return tx.delete(events).where(lte(events.seq, last.seq)).run().changes
        },
        { behavior: 'immediate' },
      )
    },
  }
}
