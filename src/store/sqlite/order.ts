/**
 * The order of the queue on the rows: the rule of fairness.ts in SQL, and the two moments at which an app's turn moves.
 * Invariant: `turn` moves when a job gives its place back and when an app's queue begins, in that very transaction, and
 * never when a place is taken.
 */
import { sql } from 'drizzle-orm'
import { LONGEST_JOB_MS, MOST_OWED_MS, type Stand, SWING_MS } from '../../fairness.ts'
import type { Db, Tx } from './database.ts'
import type { Row } from './rows.ts'
import { BEGUN, IN_FLIGHT, WAITING } from './tables.ts'

const waits = sql`exists (select 1 from predictions where app_id = apps.id and ${WAITING})`

/**
 * Common table expressions. `active`: the apps of which a job waits or has a place, with n of each, and the most it may
 * have. `middle`: their mean turn. `stands`: what a key is made of.
 */
export const STANDS = sql`
  places (app_id, n) as materialized (
    select app_id, count(*) from (
      select app_id from predictions where ${BEGUN}
      union all select app_id from predictions where ${IN_FLIGHT}
    ) group by app_id
  ),
  active as materialized (
    select apps.id as app_id, weight, turn, queued_since, coalesce(n, 0) as n,
      coalesce(max_in_flight, 9007199254740991) as most
    from apps left join places on places.app_id = apps.id
    where n > 0 or ${waits}
  ),
  middle (turn) as materialized (select sum(weight * turn) / sum(weight) from active),
  stands as materialized (
    select active.*,
      min(1.0, max(0.0, 0.5 + (active.turn - middle.turn) * weight / ${SWING_MS})) as rounding
    from active cross join middle
  )`

/** Of a row that has its app's stand and `k` beside it. */
export const IN_ORDER = sql`(n + k - 1 + rounding) / weight, turn, queued_since, app_id, k`
export const IS_HELD = sql`n + k > most`

/** Before a row is added. A queue that begins is neither owed anything for the time it was empty, nor owes for before. */
export function joinQueue(tx: Tx, appId: string, now: number): void {
  tx.run(sql`
    with ${STANDS}
    update apps set queued_since = ${now},
      turn = coalesce((select turn from middle), (select max(turn) from apps))
    where id = ${appId} and not ${waits}`)
}

/** After a job gave its place back: its time is its app's, and who is owed too much is owed no more than that. */
export function leavePlace(tx: Tx, { appId, begunAt }: Row, now: number): void {
  const ms = Math.min(Math.max(now - (begunAt ?? now), 0), LONGEST_JOB_MS)
  tx.run(sql`update apps set turn = turn + ${ms} * 1.0 / weight where id = ${appId}`)
  // An app that its own limit holds back wants no more than it has.
  tx.run(sql`
    with ${STANDS},
    least (app_id, turn) as materialized (
      select app_id, middle.turn - iif(n >= most, 0, ${MOST_OWED_MS} * 1.0 / weight) from active cross join middle
    )
    update apps set turn = least.turn from least where least.app_id = apps.id and apps.turn < least.turn`)
}

export const hasPlace = ({ submission, following }: Row): boolean =>
  submission === 'begun' || following === 'closely'

export const readStands = (db: Db): Stand[] =>
  db.all<Stand>(sql`
    with ${STANDS}
    select app_id as appId, weight, n, most, rounding, turn, queued_since as queuedSince,
      (select count(*) from predictions where app_id = stands.app_id and ${WAITING}) as waiting
    from stands`)
