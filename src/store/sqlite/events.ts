/**
 * The event log: its range, events after a `seq`, pruning.
 * Invariant: each result is read in one transaction, so its parts belong to the same moment.
 */

import { canSee, type Scope } from '../../domain/access-scope.ts'
import type { LogPosition, PredictionEvent } from '../../domain/prediction.ts'
import type { EventStore, EventsResult } from '../store.ts'
import type { Db } from './connection.ts'
import { asc, lte, type SQL, sql } from './drizzle.ts'
import { prepare } from './prepare.ts'
import {
  decodeJsonColumns,
  PUBLIC_COLUMNS,
  type PublicRow,
  type SqliteRow,
  toPredictionIn,
} from './row-mapping.ts'
import { events } from './schema.ts'
import type { SharedParts } from './shared-parts.ts'

/** Row of `meta`: the position of the last pruned event, whose cursors are still valid. */
const LAST_PRUNED = 'last_pruned'

const EVENT_COLUMNS = sql`${events.seq} as seq, ${events.mark} as mark, ${events.type} as type, ${events.previousStatus} as previousStatus,
  ${events.occurredAt} as occurredAt, ${events.state} as state, ${PUBLIC_COLUMNS}`

type EventRow = Omit<PredictionEvent, 'prediction'> & { state: string } & SqliteRow

const toEvent = (row: EventRow): PredictionEvent => ({
  seq: row.seq,
  mark: row.mark,
  type: row.type,
  previousStatus: row.previousStatus,
  occurredAt: row.occurredAt,
  prediction: toPredictionIn(decodeJsonColumns<PublicRow>(row), JSON.parse(row.state)),
})

/** Reads the newest position of the log, and whether a position is of its history. */
export interface LogReader {
  /** 0 if there was no event yet. */
  headSeq(): number
  readHead(): LogPosition
  positionOf(seq: number): LogPosition
  /** See `eventRange`. */
  isSameHistory(position: LogPosition): boolean
}

export function createLogReader(db: Db): LogReader {
  const newest = prepare<number>(db, sql`select seq from sqlite_sequence where name = 'events'`).pluck()
  const selectMark = prepare<number | null>(db, sql`select mark from events where seq = @seq`).pluck()
  const selectPruned = prepare<string>(db, sql`select value from meta where name = ${LAST_PRUNED}`).pluck()

  /** Undefined if the event was pruned and is not known any more. */
  function markOf(seq: number): number | null | undefined {
    if (seq === 0) return null
    const mark = selectMark.get({ seq })
    if (mark !== undefined) return mark
    const lastPruned = JSON.parse(selectPruned.get() ?? 'null') as LogPosition | null
    return lastPruned?.seq === seq ? lastPruned.mark : undefined
  }
  const positionOf = (seq: number): LogPosition => ({ seq, mark: markOf(seq) ?? null })

  const headSeq = () => newest.get() ?? 0

  return {
    headSeq,
    readHead: () => positionOf(headSeq()),
    positionOf,
    isSameHistory({ seq, mark: expectedMark }) {
      const mark = markOf(seq)
      return mark === undefined || mark === expectedMark
    },
  }
}

export function createEventStore(
  db: Db,
  { findPrediction }: Pick<SharedParts, 'findPrediction'>,
  logReader: LogReader,
): EventStore {
  const oldest = prepare<number>(db, sql`select seq from events order by seq limit 1`).pluck()

  const storePruned = prepare(
    db,
    sql`insert into meta (name, value) values (${LAST_PRUNED}, @value)
      on conflict (name) do update set value = excluded.value`,
  )

  const range = () => {
    const head = logReader.headSeq()
    return { head, prunedUpTo: (oldest.get() ?? head + 1) - 1 }
  }

  const selectAfter = (...conditions: SQL[]) =>
    prepare<EventRow>(
      db,
      sql`
      select ${EVENT_COLUMNS} from events join predictions on predictions.id = events.prediction_id
      where ${sql.join([...conditions, sql`events.seq > @afterSeq`], sql` and `)}
      order by events.seq limit @limit`,
    )
  const selectAll = selectAfter()
  const selectOfApp = selectAfter(sql`events.app_id = @appId`)
  const selectOfPrediction = selectAfter(
    sql`events.app_id = @appId`,
    sql`events.prediction_id = @predictionId`,
  )
  /** Reads at most `limit` events of each prediction, by index. */
  const selectOfEach = prepare<EventRow>(
    db,
    sql`
    select ${EVENT_COLUMNS} from json_each(@ids) requested
      cross join events on events.seq in (
        select seq from events where prediction_id = requested.value and app_id = @appId and seq > @afterSeq
        order by seq limit @limit
      )
      cross join predictions on predictions.id = requested.value
    order by events.seq`,
  )
  const inTransaction = db.$client.transaction((read: () => unknown) => read()) as <Read>(
    read: () => Read,
  ) => Read

  /** Must run in the transaction that read the rows. */
  function toResult(rows: EventRow[], afterSeq: number, limit: number, scope: Scope | null): EventsResult {
    const { head, prunedUpTo } = range()
    const all = rows.map(toEvent)
    return {
      events: scope === null ? all : all.filter(({ prediction }) => canSee(scope, prediction)),
      scannedUpTo: rows.length < limit ? Math.max(afterSeq, head) : rows.at(-1)!.seq,
      prunedUpTo,
    }
  }

  return {
    eventRange: async position =>
      inTransaction(() => {
        const { head, prunedUpTo } = range()
        const isSameHistory = position === undefined || logReader.isSameHistory(position)
        return { head, headPosition: logReader.positionOf(head), prunedUpTo, isSameHistory }
      }),

    positionOf: async seq => logReader.positionOf(seq),

    eventsAfter: async ({ scope, afterSeq, limit, predictionId }) =>
      inTransaction(() => {
        const { appId } = scope
        const rows =
          predictionId === undefined
            ? selectOfApp.all({ appId, afterSeq, limit })
            : selectOfPrediction.all({ appId, afterSeq, limit, predictionId })
        return toResult(rows, afterSeq, limit, scope)
      }),

    async histories(scope, ids, afterSeq, limit) {
      const found = new Map<string, PredictionEvent[]>(ids.map(id => [id, []]))
      const rows = selectOfEach.all({
        appId: scope.appId,
        ids: JSON.stringify([...found.keys()]),
        afterSeq,
        limit,
      })
      for (const row of rows) {
        const event = toEvent(row)
        if (canSee(scope, event.prediction)) found.get(event.prediction.id)!.push(event)
      }
      return ids.map(id => found.get(id)!)
    },

    allEventsAfter: async (afterSeq, limit) =>
      inTransaction(() => toResult(selectAll.all({ afterSeq, limit }), afterSeq, limit, null)),

    snapshot: async (scope, id) =>
      inTransaction(() => {
        const prediction = findPrediction(scope, id)
        return prediction && { prediction, head: range().head }
      }),

    async pruneEvents({ occurredBefore, limit, thisProcess }) {
      const maxSeq = thisProcess?.lowestPinnedSeq ?? Number.MAX_SAFE_INTEGER
      return db.transaction(
        tx => {
          const oldestFirst = tx
            .select({ seq: events.seq, mark: events.mark, occurredAt: events.occurredAt })
            .from(events)
            .orderBy(asc(events.seq))
            .limit(limit)
            .all()
          const firstKeptIndex = oldestFirst.findIndex(
            event => event.occurredAt >= occurredBefore || event.seq > maxSeq,
          )
          const lastPruned = oldestFirst.at(firstKeptIndex === -1 ? -1 : firstKeptIndex - 1)
          if (firstKeptIndex === 0 || lastPruned === undefined) return 0
          storePruned.run({ value: JSON.stringify({ seq: lastPruned.seq, mark: lastPruned.mark }) })
          return tx.delete(events).where(lte(events.seq, lastPruned.seq)).run().changes
        },
        { behavior: 'immediate' },
      )
    },
  }
}
