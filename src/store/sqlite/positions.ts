/**
 * How many jobs wait before one, in the order in which they are sent; what rests or whose image is yet to be seen counts
 * like any other. Cost: every app's waiting rows are counted by index, once for all ids that are asked for.
 */
import { type SQL, sql } from 'drizzle-orm'
import { aheadOf } from '../../fairness.ts'
import type { Queue } from '../store.ts'
import type { Db } from './database.ts'
import { readStands } from './order.ts'
import { WAITING } from './tables.ts'

export function createPositions(db: Db): Pick<Queue, 'queuePositions'> {
  /** Rows of its app up to this one, of one half of the index. */
  const upTo = (half: SQL) => sql`(
    select count(*) from predictions ahead
    where ahead.app_id = predictions.app_id and ahead.status = 'QUEUED' and ahead.submission = 'none'
      and (ahead.image_tries > 0) = ${half}
      and (ahead.created_at, ahead.id) <= (predictions.created_at, predictions.id)
  )`
  return {
    async queuePositions(appId, ids) {
      const asked = sql.join(
        ids.map(id => sql`${id}`),
        sql`, `,
      )
      // One moment: what is claimed meanwhile would be missed here or counted there.
      return db.transaction(() => {
        const rows = db.all<{ id: string; k: number }>(sql`
          select id, ${upTo(sql`0`)} + ${upTo(sql`1`)} as k from predictions
          where app_id = ${appId} and id in (${asked}) and ${WAITING}`)
        if (rows.length === 0) return ids.map(() => null)
        const stands = readStands(db)
        const mine = stands.find(stand => stand.appId === appId)!
        const found = new Map(rows.map(({ id, k }) => [id, 1 + aheadOf(mine, k, stands)]))
        return ids.map(id => found.get(id) ?? null)
      })
    },
  }
}
