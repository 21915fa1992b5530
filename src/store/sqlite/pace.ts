/**
 * What holds submits back, in SQLite: the pause, and the pace. Both change in the transaction that had the answer.
 */
import { faster, type Pace, type Pause, pauseOn, type StandingPause, slower } from '../../pause.ts'
import type { Db, Tx } from './database.ts'
import { count, eq, type SQL } from './drizzle.ts'
import { BEGUN, IN_FLIGHT, pace, pause, predictions } from './tables.ts'

export const countOf = (db: Db | Tx, where: SQL): number =>
  db.select({ n: count() }).from(predictions).where(where).get()!.n

export const exists = (db: Db | Tx, where: SQL): boolean =>
  db.select({ id: predictions.id }).from(predictions).where(where).limit(1).get() !== undefined

export const inUse = (db: Db | Tx): number => countOf(db, BEGUN) + countOf(db, IN_FLIGHT)

export const pauseOf = (db: Db | Tx): StandingPause | null => db.select().from(pause).get() ?? null

/** @param begunAt of the POST whose answer it was */
export function hold(tx: Tx, next: Pause, begunAt: number, now: number): void {
  const standing = pauseOf(tx)
  tx.delete(pause).run()
  tx.insert(pause)
    .values(pauseOn(standing, next, now))
    .run()
  if (next.reason === 'throttled') keepPace(tx, slower(paceOf(tx), begunAt, inUse(tx) + 1, now))
}

/** Upstream answered this job's POST as it should. */
export function release(tx: Tx, id: string, isAccepted: boolean): void {
  tx.delete(pause).where(eq(pause.trialOf, id)).run()
  const standing = isAccepted ? paceOf(tx) : null
  if (standing !== null) keepPace(tx, faster(standing))
}

export function paceOf(db: Db | Tx): Pace | null {
  const row = db.select().from(pace).get()
  if (row === undefined) return null
  const { only: _, ...standing } = row
  return standing
}

function keepPace(tx: Tx, next: Pace | null): void {
  tx.delete(pace).run()
  if (next !== null)
    tx.insert(pace)
      .values({ only: 1, ...next })
      .run()
}
