/**
 * Apps and their keys, in SQLite. Keys are stored as hashes only.
 * Invariant: nothing is remembered between two questions, for another process writes here too.
 */
import { v7 as uuidv7 } from 'uuid'
import type { AppId } from '../../domain/prediction.ts'
import type { App, Apps } from '../store.ts'
import type { Db, Tx } from './connection.ts'
import { and, asc, count, eq, gt, isNull, lt, or, sql } from './drizzle.ts'
import { apps, keys } from './schema.ts'

const toApp = (row: typeof apps.$inferSelect): App => {
  const { maxInFlight, maxQueued, submitsPerMinute, monthlyBudget, weight } = row
  const limits = { maxInFlight, maxQueued, submitsPerMinute, monthlyBudget, weight }
  return { id: row.id as AppId, name: row.name, limits }
}

const VISIBLE = { prefix: keys.prefix, createdAt: keys.createdAt, expiresAt: keys.expiresAt }

export function createApps(db: Db): Omit<Apps, 'usage'> {
  const byPrefix = db
    .select()
    .from(keys)
    .where(eq(keys.prefix, sql.placeholder('prefix')))
    .prepare()

  const byId = db
    .select()
    .from(apps)
    .where(eq(apps.id, sql.placeholder('id')))
    .prepare()

  const keysOf = (from: Db | Tx, appId: AppId) =>
    from
      .select(VISIBLE)
      .from(keys)
      .where(eq(keys.appId, appId))
      .orderBy(asc(keys.createdAt), asc(keys.prefix))
      .all()

  return {
    async createApp(name, now, { limits = {}, key } = {}) {
      const made = db.transaction(
        tx => {
          const row = tx
            .insert(apps)
            .values({ ...limits, id: uuidv7(), name, createdAt: now })
            .onConflictDoNothing()
            .returning()
            .get()
          if (row !== undefined && key !== undefined)
            tx.insert(keys)
              .values({ ...key, appId: row.id, createdAt: now })
              .run()
          return row
        },
        { behavior: 'immediate' },
      )
      return made ? toApp(made) : null
    },

    async app(id) {
      const row = byId.get({ id })
      return row ? toApp(row) : null
    },

    async appNamed(name) {
      const row = db.select().from(apps).where(eq(apps.name, name)).get()
      return row ? toApp(row) : null
    },

    listApps: async () => db.select().from(apps).orderBy(asc(apps.name)).all().map(toApp),

    countApps: async () => db.select({ n: count() }).from(apps).get()!.n,

    async setLimits(id, patch) {
      // Set to itself, for a patch may be empty.
      const row = db
        .update(apps)
        .set({ id, ...patch })
        .where(eq(apps.id, id))
        .returning()
        .get()
      return row ? toApp(row) : null
    },

    keysOf: async appId => keysOf(db, appId),

    addKey: async (appId, key, now) =>
      void db
        .insert(keys)
        .values({ ...key, appId, createdAt: now })
        .run(),

    async findKey(prefix) {
      const row = byPrefix.get({ prefix })
      return row ? { ...row, appId: row.appId as AppId } : null
    },

    rotateKeys: async (appId, key, until, now) =>
      db.transaction(
        tx => {
          const good = keysOf(tx, appId).filter(({ expiresAt }) => expiresAt === null || expiresAt > now)
          tx.update(keys)
            .set({ expiresAt: until })
            .where(and(eq(keys.appId, appId), or(isNull(keys.expiresAt), gt(keys.expiresAt, until))))
            .run()
          tx.insert(keys)
            .values({ ...key, appId, createdAt: now })
            .run()
          return good.map(each => ({ ...each, expiresAt: Math.min(each.expiresAt ?? until, until) }))
        },
        { behavior: 'immediate' },
      ),

    revokeKey: async prefix => db.delete(keys).where(eq(keys.prefix, prefix)).run().changes > 0,

    revokeKeys: async appId =>
      db
        .delete(keys)
        .where(eq(keys.appId, appId))
        .returning({ prefix: keys.prefix })
        .all()
        .map(({ prefix }) => prefix),

    pruneKeys: async before => db.delete(keys).where(lt(keys.expiresAt, before)).run().changes,
  }
}
