/**
 * What an app has spent, in SQLite.
 * Invariant: an app's spending of a month is the sum of the costs of its predictions created in it: whoever changes a
 * cost changes it in the same transaction.
 */
import { monthOf } from '../../limits.ts'
import type { AppId } from '../../prediction.ts'
import type { Db, Tx } from './database.ts'
import { and, eq, sql } from './drizzle.ts'
import { spending } from './tables.ts'

/** @param by micro-USD; less than 0 where it is given back */
export function spend(tx: Tx, appId: string, createdAt: number, by: number): void {
  if (by === 0) return
  tx.insert(spending)
    .values({ appId, month: monthOf(createdAt), spent: by })
    .onConflictDoUpdate({
      target: [spending.appId, spending.month],
      set: { spent: sql`${spending.spent} + ${by}` },
    })
    .run()
}

/** In the UTC month of `moment`. */
export const spentIn = (db: Db | Tx, appId: AppId, moment: number): number =>
  db
    .select({ spent: spending.spent })
    .from(spending)
    .where(and(eq(spending.appId, appId), eq(spending.month, monthOf(moment))))
    .get()?.spent ?? 0
