/**
 * Queue positions in fair order. Jobs that back off or wait for their image check count too. Jobs over their app's
 * limit are placed as without the limit. Jobs that upstream refused repeatedly are placed like others, although
 * claim-submits.ts submits them last.
 * Cost: the waiting rows of every app are counted by index; those of the app itself once for each id or, above 10
 * ids, all at once.
 */
import { jobsAhead } from '../../../domain/fair-queue.ts'
import type { QueueStore } from '../../store.ts'
import type { Db } from '../connection.ts'
import { type SQL, sql } from '../drizzle.ts'
import { WAITING } from '../predicates.ts'
import { jsonValues, prepare } from '../prepare.ts'
import type { FairOrder } from './fair-order.ts'

/** Counting up to one row takes 0.5 ms behind 10,000 rows, ranking all of them 10 ms (measured). */
const MAX_SEPARATE_COUNTS = 10

export function createQueuePositions(
  db: Db,
  fairOrder: Pick<FairOrder, 'appStates'>,
): Pick<QueueStore, 'queuePositions'> {
  /** Counts the app's waiting rows up to this one, in one half of the index (first checks, retries). */
  const countUpTo = (isRetry: SQL) => sql`(
    select count(*) from predictions ahead
    where ahead.app_id = predictions.app_id and ahead.status = 'QUEUED' and ahead.submission = 'none'
      and (ahead.image_check_failures > 0) = ${isRetry}
      and (ahead.created_at, ahead.id) <= (predictions.created_at, predictions.id)
  )`
  const isRequested = sql`where +app_id = @appId and id in ${jsonValues('@ids')} and ${WAITING}`
  const rankEach = prepare<QueueRank>(
    db,
    sql`
    select id, ${countUpTo(sql`0`)} + ${countUpTo(sql`1`)} as queueIndex from predictions ${isRequested}`,
  )
  const rankAll = prepare<QueueRank>(
    db,
    sql`
    select id, queueIndex from (
      select id, app_id, status, submission,
        row_number() over (order by created_at, id) as queueIndex
      from predictions indexed by predictions_waiting where app_id = @appId and ${WAITING}
    ) ${isRequested}`,
  )
  // Both are read in one transaction: rows claimed in between would be missed or counted twice.
  const readRanks = db.$client.transaction((appId: string, ids: readonly string[]) => {
    const rows = (ids.length > MAX_SEPARATE_COUNTS ? rankAll : rankEach).all({
      appId,
      ids: JSON.stringify(ids),
    })
    return { rows, appStates: rows.length === 0 ? [] : fairOrder.appStates() }
  })

  return {
    async queuePositions(appId, ids) {
      const { rows, appStates } = readRanks(appId, ids)
      const own = appStates.find(state => state.appId === appId)
      const found = new Map(
        rows.map(({ id, queueIndex }) => [id, 1 + jobsAhead(own!, queueIndex, appStates)]),
      )
      return ids.map(id => found.get(id) ?? null)
    },
  }
}

interface QueueRank {
  id: string
  /** Index in the queue of its app, from 1. */
  queueIndex: number
}
