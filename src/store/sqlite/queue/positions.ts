/**
 * How many jobs wait before one, in the order in which they are sent; what rests or whose image is yet to be seen counts
 * like any other. What an app's own limit holds back stands where it would stand without.
 * Cost: every app's waiting rows are counted by index; of the app itself, for each id, or all once where many are asked.
 */
import { aheadOf } from '../../../domain/fair-queue.ts'
import type { Queue } from '../../store.ts'
import type { Db } from '../connection.ts'
import { type SQL, sql } from '../drizzle.ts'
import { prepare, valuesOf } from '../prepare.ts'
import { WAITING } from '../schema.ts'
import type { Order } from './fair-order.ts'

/** A count up to each takes 0.5 ms behind 10,000 rows, all at once 10 (measured). */
const FEW = 10

export function createPositions(db: Db, order: Pick<Order, 'stands'>): Pick<Queue, 'queuePositions'> {
  /** Rows of its app up to this one, of one half of the index. */
  const upTo = (half: SQL) => sql`(
    select count(*) from predictions ahead
    where ahead.app_id = predictions.app_id and ahead.status = 'QUEUED' and ahead.submission = 'none'
      and (ahead.image_tries > 0) = ${half}
      and (ahead.created_at, ahead.id) <= (predictions.created_at, predictions.id)
  )`
  const asked = sql`where +app_id = @appId and id in ${valuesOf('@ids')} and ${WAITING}`
  const ofFew = prepare<Rank>(
    db,
    sql`
    select id, ${upTo(sql`0`)} + ${upTo(sql`1`)} as k from predictions ${asked}`,
  )
  const ofMany = prepare<Rank>(
    db,
    sql`
    select id, k from (
      select id, app_id, status, submission,
        row_number() over (order by created_at, id) as k
      from predictions indexed by predictions_waiting where app_id = @appId and ${WAITING}
    ) ${asked}`,
  )
  // One moment: what is claimed meanwhile would be missed here or counted there.
  const read = db.$client.transaction((appId: string, ids: readonly string[]) => {
    const rows = (ids.length > FEW ? ofMany : ofFew).all({ appId, ids: JSON.stringify(ids) })
    return { rows, stands: rows.length === 0 ? [] : order.stands() }
  })

  return {
    async queuePositions(appId, ids) {
      const { rows, stands } = read(appId, ids)
      const mine = stands.find(stand => stand.appId === appId)
      const found = new Map(rows.map(({ id, k }) => [id, 1 + aheadOf(mine!, k, stands)]))
      return ids.map(id => found.get(id) ?? null)
    },
  }
}

interface Rank {
  id: string
  /** The how many-th of its app. */
  k: number
}
