/**
 * Apps, their keys and what they use, in SQLite. Keys are stored as hashes only.
 */
import { and, count, eq, gte, lt, sql } from 'drizzle-orm'
import { v7 as uuidv7 } from 'uuid'
import type { AppId } from '../../prediction.ts'
import type { App, Apps } from '../store.ts'
import type { Db } from './database.ts'
import { apps, BEGUN, IN_FLIGHT, keys, predictions, SOUGHT, WAITING } from './tables.ts'

const toApp = ({ id, name, createdAt: _, ...limits }: typeof apps.$inferSelect): App => ({
  id: id as AppId,
  name,
  limits,
})

export function createApps(db: Db): Apps {
  const byPrefix = db
    .select()
    .from(keys)
    .where(eq(keys.prefix, sql.placeholder('prefix')))
    .prepare()

  return {
    async createApp(name, now) {
      const row = db
        .insert(apps)
        .values({ id: uuidv7(), name, createdAt: now })
        .onConflictDoNothing()
        .returning()
        .get()
      return row ? toApp(row) : null
    },

    async app(id) {
      const row = db.select().from(apps).where(eq(apps.id, id)).get()
      return row ? toApp(row) : null
    },

    async appNamed(name) {
      const row = db.select().from(apps).where(eq(apps.name, name)).get()
      return row ? toApp(row) : null
    },

    countApps: async () => db.select({ n: count() }).from(apps).get()!.n,

    addKey: async (appId, key, now) =>
      void db
        .insert(keys)
        .values({ ...key, appId, createdAt: now })
        .run(),

    async findKey(prefix) {
      const row = byPrefix.get({ prefix })
      return row ? { ...row, appId: row.appId as AppId } : null
    },

    revokeKey: async prefix => db.delete(keys).where(eq(keys.prefix, prefix)).run().changes > 0,

    pruneKeys: async before => db.delete(keys).where(lt(keys.expiresAt, before)).run().changes,

    async usage(appId, monthStart) {
      const mine = eq(predictions.appId, appId)
      const tally = (where: typeof mine) => db.select({ n: count() }).from(predictions).where(where).get()!.n
      return {
        inFlight:
          tally(and(mine, BEGUN)!) +
          tally(and(mine, IN_FLIGHT)!) +
          tally(and(mine, SOUGHT, eq(predictions.status, 'QUEUED'), eq(predictions.following, 'late'))!),
        queued: tally(and(mine, WAITING)!),
        spent: db
          .select({ sum: sql<number>`coalesce(sum(${predictions.cost}), 0)` })
          .from(predictions)
          .where(and(mine, gte(predictions.createdAt, monthStart)))
          .get()!.sum,
      }
    },
  }
}
