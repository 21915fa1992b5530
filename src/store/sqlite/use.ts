/**
 * What an app uses of its limits, in SQLite: told to whoever asks, and measured against for each submit.
 * Invariant: a submit is measured under the write lock that it is written under, from the rows themselves, so that no
 * number of concurrent ones gets past a limit.
 */
import { excessOf, monthOf, type Use } from '../../limits.ts'
import type { AppId } from '../../prediction.ts'
import type { Apps, Bounds, Creation } from '../store.ts'
import type { Db, Tx } from './database.ts'
import { and, count, desc, eq, gt, gte, lt, lte, type SQL, sql } from './drizzle.ts'
import { countOf } from './pace.ts'
import { visible } from './selection.ts'
import { spentIn } from './spending.ts'
import { apps, BEGUN, IN_FLIGHT, predictions, SOUGHT, WAITING } from './tables.ts'

type Refusal = Extract<Creation, { kind: 'refused' }>['refusal']

/** One ahead of the clock was made before the clock was put back. */
const AHEAD_MS = 60_000
/** From the beginning of any month into the next. */
const LONGEST_MONTH_MS = 31 * 24 * 60 * 60 * 1000

export const createUsage =
  (db: Db): Apps['usage'] =>
  async (scope, now) => {
    const mine = visible(scope)
    /** The planner would take the index of all rows that the app ever had. */
    const mineOf = (where: SQL, index: SQL) =>
      db.get<{ n: number }>(
        sql`select count(*) as n from predictions indexed by ${index} where ${and(where, mine)}`,
      ).n
    return {
      inFlight:
        mineOf(BEGUN, sql`predictions_begun`) +
        mineOf(IN_FLIGHT, sql`predictions_in_flight`) +
        mineOf(
          and(SOUGHT, eq(predictions.status, 'QUEUED'), eq(predictions.following, 'late'))!,
          sql`predictions_sought`,
        ),
      queued: mineOf(WAITING, sql`predictions_waiting`),
      spent: scope.only === null ? spentIn(db, scope.appId, now) : costOf(db, and(mine, inMonth(now))!),
    }
  }

/** Rows ahead of it may be there: the clock was put back. */
const inMonth = (moment: number) =>
  and(
    gte(predictions.createdAt, monthOf(moment)),
    lt(predictions.createdAt, monthOf(monthOf(moment) + LONGEST_MONTH_MS)),
  )

const costOf = (db: Db, where: SQL): number =>
  db
    .select({ sum: sql<number>`coalesce(sum(${predictions.cost}), 0)` })
    .from(predictions)
    .where(where)
    .get()!.sum

/** Why one more would be too much, or null. */
export function refusalOf(
  tx: Tx,
  draft: { appId: AppId; token: string | null; cost: number },
  bounds: Bounds | undefined,
  now: number,
): Refusal | null {
  const { appId, token, cost } = draft
  if (bounds !== undefined && token !== null && madeBy(tx, token) >= bounds.maxSubmits)
    return { code: 'FORBIDDEN' }
  const limits = tx.select().from(apps).where(eq(apps.id, appId)).get()
  return limits === undefined ? null : excessOf(limits, useOf(tx, appId, now), cost, now)
}

const madeBy = (tx: Tx, token: string): number =>
  tx.select({ n: count() }).from(predictions).where(eq(predictions.token, token)).get()!.n

const useOf = (tx: Tx, appId: AppId, now: number): Use => ({
  queued: () => countOf(tx, and(eq(predictions.appId, appId), WAITING)!),
  spent: () => spentIn(tx, appId, now),
  submitAfter: (moment, n) =>
    tx
      .select({ at: predictions.createdAt })
      .from(predictions)
      .where(
        and(
          eq(predictions.appId, appId),
          gt(predictions.createdAt, moment),
          lte(predictions.createdAt, now + AHEAD_MS),
        ),
      )
      .orderBy(desc(predictions.createdAt))
      .limit(1)
      .offset(n)
      .get()?.at ?? null,
})
