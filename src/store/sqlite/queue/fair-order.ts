/**
 * The order of the queue on the rows: the rule of fairness.ts in SQL, and the two moments at which an app's turn moves.
 * Invariant: `turn` moves when a job gives its place back and when an app's queue begins, in that very transaction, and
 * never when a place is taken.
 */
import { LONGEST_JOB_MS, MOST_OWED_MS, type Stand, SWING_MS } from '../../../domain/fair-queue.ts'
import type { Db } from '../connection.ts'
import { sql } from '../drizzle.ts'
import { prepare } from '../prepare.ts'
import type { Row } from '../row-mapping.ts'
import { BEGUN, IN_FLIGHT, WAITING } from '../schema.ts'

const runs = sql`(exists (select 1 from predictions where app_id = apps.id and ${IN_FLIGHT})
  or exists (select 1 from predictions indexed by predictions_begun where app_id = apps.id and ${BEGUN}))`
const waits = sql`exists (select 1 from predictions where app_id = apps.id and ${WAITING})`

/** Common table expressions. `active`: the apps of which a job waits or has a place. `middle`: their mean turn. */
const MIDDLE = sql`
  begun (app_id, n) as materialized (
    select app_id, count(*) from predictions indexed by predictions_begun where ${BEGUN} group by app_id
  ),
  active as materialized (
    select apps.id as app_id, weight, turn, queued_since, is_new, max_in_flight, coalesce(begun.n, 0) as begun
    from apps left join begun on begun.app_id = apps.id
    where begun.n > 0 or ${waits}
      or exists (select 1 from predictions where app_id = apps.id and ${IN_FLIGHT})
  ),
  middle (turn) as materialized (select sum(weight * turn) / sum(weight) from active)`

/** The places an active app has. Counted where a count is needed: with 10,000 in flight it takes 0.5 ms. */
const PLACES = sql`(begun + (select count(*) from predictions where app_id = active.app_id and ${IN_FLIGHT}))`

/** And `stands`: what a key is made of. */
export const STANDS = sql`${MIDDLE},
  stands as materialized (
    select active.app_id, weight, active.turn, queued_since, is_new, ${PLACES} as n,
      coalesce(max_in_flight, 9007199254740991) as most,
      min(1.0, max(0.0, 0.5 + (active.turn - middle.turn) * weight / ${SWING_MS})) as rounding
    from active cross join middle
  )`

/** Of a row that has its app's stand and `k` beside it. */
export const IN_ORDER = sql`iif(is_new and n = 0 and k = 1, 0, (n + k - 1 + rounding) / weight), turn, queued_since, app_id, k`
export const IS_HELD = sql`n + k > most`

export interface Order {
  /**
   * Before a row is added. An app that has nothing here any more is owed nothing for the time that it was away, and goes on
   * owing what it had beyond its share, or whoever keeps its queue short would have more. If it owes nothing, its first job
   * is next.
   */
  join(appId: string, now: number): void
  /** After a job gave its place back: its time is its app's, and who is owed too much is owed no more than that. */
  leave(row: Row, now: number): void
  stands(): Stand[]
}

export function createOrder(db: Db): Order {
  const join = prepare(
    db,
    sql`
    with ${MIDDLE}
    update apps set
      queued_since = @now,
      is_new = apps.turn <= coalesce((select turn from middle), apps.turn),
      turn = coalesce(
        (select min(max(apps.turn, middle.turn), middle.turn + ${MOST_OWED_MS} * 1.0 / weight) from middle),
        (select max(turn) from apps)
      )
    where id = @appId and not ${waits} and not ${runs}`,
  )
  const add = prepare(db, sql`update apps set turn = turn + @ms * 1.0 / weight, is_new = 0 where id = @appId`)
  // An app that its own limit holds back wants no more than it has.
  const forgive = prepare(
    db,
    sql`
    with ${MIDDLE},
    least (app_id, turn) as materialized (
      select app_id, middle.turn - iif(
        max_in_flight is not null and ${PLACES} >= max_in_flight, 0, ${MOST_OWED_MS} * 1.0 / weight
      ) from active cross join middle
    )
    update apps set turn = least.turn from least where least.app_id = apps.id and apps.turn < least.turn`,
  )
  const stands = prepare<Stand>(
    db,
    sql`
    with ${STANDS}
    select app_id as appId, weight, n, most, rounding, turn, queued_since as queuedSince, is_new as isNew,
      (select count(*) from predictions where app_id = stands.app_id and ${WAITING}) as waiting
    from stands`,
  )

  return {
    join: (appId, now) => void join.run({ appId, now }),
    leave({ appId, begunAt }, now) {
      add.run({ appId, ms: Math.min(Math.max(now - (begunAt ?? now), 0), LONGEST_JOB_MS) })
      forgive.run()
    },
    stands: () => stands.all(),
  }
}

export const hasPlace = ({ submission, following }: Row): boolean =>
  submission === 'begun' || following === 'closely'
