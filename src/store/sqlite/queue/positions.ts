/**
 * How many jobs wait before one, in the order in which they are sent; what rests or whose image is yet to be seen counts
 * like any other. What an app's own limit holds back stands where it would stand without.
 * Cost: every app's waiting rows are counted by index; of the app itself, for each id, or all once where many are asked.
 */
import { jobsAhead } from '../../../domain/fair-queue.ts'
import type { QueueStore } from '../../store.ts'
import type { Db } from '../connection.ts'
import { type SQL, sql } from '../drizzle.ts'
import { WAITING } from '../predicates.ts'
import { jsonValues, prepare } from '../prepare.ts'
import type { FairOrder } from './fair-order.ts'

/** A count up to each takes 0.5 ms behind 10,000 rows, all at once 10 (measured). */
const MAX_SEPARATE_COUNTS = 10

export function createQueuePositions(
  db: Db,
  fairOrder: Pick<FairOrder, 'appStates'>,
): Pick<QueueStore, 'queuePositions'> {
  /** Rows of its app up to this one, of one half of the index. */
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
  // One moment: what is claimed meanwhile would be missed here or counted there.
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
  /** The how many-th of its app. */
  queueIndex: number
}
