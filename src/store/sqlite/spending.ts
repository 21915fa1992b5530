/**
 * What an app has spent, in SQLite.
 * Invariant: an app's spending of a month is the sum of the costs of its predictions created in it: whoever changes a
 * cost changes it in the same transaction.
 */
import { monthOf } from '../../domain/app-limits.ts'
import type { Db } from './connection.ts'
import { sql } from './drizzle.ts'
import { prepare } from './prepare.ts'
import { spending } from './schema.ts'

export interface Spending {
  /** @param by micro-USD; less than 0 where it is given back */
  add(appId: string, createdAt: number, by: number): void
  /** In the UTC month of `moment`. */
  of(appId: string, moment: number): number
}

export function createSpending(db: Db): Spending {
  const add = db
    .insert(spending)
    .values({
      appId: sql.placeholder('appId'),
      month: sql.placeholder('month'),
      spent: sql.placeholder('by'),
    })
    .onConflictDoUpdate({
      target: [spending.appId, spending.month],
      set: { spent: sql`${spending.spent} + excluded.spent` },
    })
    .prepare()
  const of = prepare<number>(
    db,
    sql`select spent from spending where app_id = @appId and month = @month`,
  ).pluck()

  return {
    add(appId, createdAt, by) {
      if (by !== 0) add.run({ appId, month: monthOf(createdAt), by })
    },
    of: (appId, moment) => of.get({ appId, month: monthOf(moment) }) ?? 0,
  }
}
