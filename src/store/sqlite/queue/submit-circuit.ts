/**
 * What holds submits back, in SQLite: the pause, and the pace. Both change in the transaction that had the answer.
 */
import {
  faster,
  type Pace,
  type Pause,
  pauseOn,
  type StandingPause,
  slower,
} from '../../../domain/submit-circuit.ts'
import type { Db } from '../connection.ts'
import { count, type SQL, sql } from '../drizzle.ts'
import { prepare } from '../prepare.ts'
import { BEGUN, IN_FLIGHT, pace, pause, predictions } from '../schema.ts'

export const countOf = (db: Db, where: SQL): number =>
  db.select({ n: count() }).from(predictions).where(where).get()!.n

export const exists = (db: Db, where: SQL): boolean =>
  db.select({ id: predictions.id }).from(predictions).where(where).limit(1).get() !== undefined

export interface Paces {
  pause(): StandingPause | null
  pace(): Pace | null
  /** Places of the account. */
  inUse(): number
  /** @param begunAt of the POST whose answer it was */
  hold(next: Pause, begunAt: number, now: number): void
  /** Upstream answered this job's POST as it should. */
  release(id: string, isAccepted: boolean): void
}

export function createPace(db: Db): Paces {
  const standing = prepare<Omit<StandingPause, 'trial'> & { trial: number }>(
    db,
    sql`
    select version, reason, since, until, trial, trial_of as trialOf, failures from pause`,
  )
  const kept = prepare<Pace>(db, sql`select concurrency, ceiling, accepted, since from pace`)
  const inUse = prepare<number>(
    db,
    sql`
    select (select count(*) from predictions where ${BEGUN})
      + (select count(*) from predictions where ${IN_FLIGHT})`,
  ).pluck()
  const endTrial = prepare(db, sql`delete from pause where trial_of = @id`)

  const pauseNow = () => {
    const row = standing.get()
    return row === undefined ? null : { ...row, trial: row.trial === 1 }
  }
  const paceNow = () => kept.get() ?? null

  function keep(next: Pace | null): void {
    db.delete(pace).run()
    if (next !== null)
      db.insert(pace)
        .values({ only: 1, ...next })
        .run()
  }

  return {
    pause: pauseNow,
    pace: paceNow,
    inUse: () => inUse.get()!,

    hold(next, begunAt, now) {
      const before = pauseNow()
      db.delete(pause).run()
      db.insert(pause)
        .values(pauseOn(before, next, now))
        .run()
      if (next.reason === 'throttled') keep(slower(paceNow(), begunAt, inUse.get()! + 1, now))
    },

    release(id, isAccepted) {
      endTrial.run({ id })
      const slowed = isAccepted ? paceNow() : null
      if (slowed !== null) keep(faster(slowed))
    },
  }
}
