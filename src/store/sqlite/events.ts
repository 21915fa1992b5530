/**
 * What has happened, in SQLite: the log's ends, what came after a cursor, and its pruning.
 * Invariant: each answer is read in one transaction, so no event can fall between the parts of an answer.
 */

import { type Scope, sees } from '../../domain/access-scope.ts'
import type { PredictionEvent } from '../../domain/prediction.ts'
import type { Events, EventsAnswer } from '../store.ts'
import type { Db } from './connection.ts'
import { asc, lte, type SQL, sql } from './drizzle.ts'
import { prepare } from './prepare.ts'
import { decoded, type Raw, SAID, type Said, toPrediction } from './row-mapping.ts'
import { events } from './schema.ts'

const EVENT = sql`${events.seq} as seq, ${events.type} as type, ${events.previousStatus} as previousStatus,
  ${events.occurredAt} as occurredAt, ${events.standing} as standing, ${SAID}`

type EventRow = Omit<PredictionEvent, 'prediction'> & { standing: string } & Raw

const toEvent = (row: EventRow): PredictionEvent => ({
  seq: row.seq,
  type: row.type,
  previousStatus: row.previousStatus,
  occurredAt: row.occurredAt,
  prediction: toPrediction(decoded<Said>(row), JSON.parse(row.standing)),
})

export function createEvents(db: Db): Events {
  const newest = prepare<number>(db, sql`select seq from sqlite_sequence where name = 'events'`).pluck()
  const oldest = prepare<number>(db, sql`select seq from events order by seq limit 1`).pluck()

  const bounds = () => {
    const head = newest.get() ?? 0
    return { head, floor: (oldest.get() ?? head + 1) - 1 }
  }

  const behind = (...which: SQL[]) =>
    prepare<EventRow>(
      db,
      sql`
      select ${EVENT} from events join predictions on predictions.id = events.prediction_id
      where ${sql.join([...which, sql`events.seq > @after`], sql` and `)}
      order by events.seq limit @limit`,
    )
  const ofAll = behind()
  const ofApp = behind(sql`events.app_id = @appId`)
  const ofPrediction = behind(sql`events.app_id = @appId`, sql`events.prediction_id = @predictionId`)
  /** Of each no more than it needs, by the index. */
  const ofEach = prepare<EventRow>(
    db,
    sql`
    select ${EVENT} from json_each(@ids) asked
      cross join events on events.seq in (
        select seq from events where prediction_id = asked.value and app_id = @appId and seq > @after
        order by seq limit @limit
      )
      cross join predictions on predictions.id = asked.value
    order by events.seq`,
  )
  const snapshot = prepare<Raw>(db, sql`select ${SAID} from predictions where id = @id and app_id = @appId`)
  const atOneMoment = db.$client.transaction((read: () => unknown) => read()) as <Read>(
    read: () => Read,
  ) => Read

  /** In the transaction that read the rows. */
  function answer(rows: EventRow[], after: number, limit: number, scope: Scope | null): EventsAnswer {
    const { head, floor } = bounds()
    const all = rows.map(toEvent)
    return {
      events: scope === null ? all : all.filter(({ prediction }) => sees(scope, prediction)),
      through: rows.length < limit ? Math.max(after, head) : rows.at(-1)!.seq,
      floor,
    }
  }

  return {
    eventBounds: async () => atOneMoment(bounds),

    eventsAfter: async ({ scope, after, limit, predictionId }) =>
      atOneMoment(() => {
        const { appId } = scope
        const rows =
          predictionId === undefined
            ? ofApp.all({ appId, after, limit })
            : ofPrediction.all({ appId, after, limit, predictionId })
        return answer(rows, after, limit, scope)
      }),

    async histories(scope, ids, after, limit) {
      const found = new Map<string, PredictionEvent[]>(ids.map(id => [id, []]))
      const rows = ofEach.all({ appId: scope.appId, ids: JSON.stringify([...found.keys()]), after, limit })
      for (const row of rows) {
        const event = toEvent(row)
        if (sees(scope, event.prediction)) found.get(event.prediction.id)!.push(event)
      }
      return ids.map(id => found.get(id)!)
    },

    logAfter: async (after, limit) =>
      atOneMoment(() => answer(ofAll.all({ after, limit }), after, limit, null)),

    snapshot: async (scope, id) =>
      atOneMoment(() => {
        const raw = snapshot.get({ id, appId: scope.appId })
        const prediction = raw ? toPrediction(decoded(raw)) : null
        return prediction && sees(scope, prediction) ? { prediction, head: bounds().head } : null
      }),

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
