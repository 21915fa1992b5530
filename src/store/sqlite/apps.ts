/**
 * Apps and their API keys. Keys are stored as hashes only.
 * Invariant: nothing is cached, because another process writes here too.
 */
import { v7 as uuidv7 } from 'uuid'
import type { AppId } from '../../domain/prediction.ts'
import type { App, AppStore } from '../store.ts'
import type { Db, Tx } from './connection.ts'
import { and, asc, count, eq, gt, isNull, lt, or, sql } from './drizzle.ts'
import { apiKeys, apps } from './schema.ts'

const toApp = (row: typeof apps.$inferSelect): App => {
  const { maxInFlight, maxQueued, submitsPerMinute, monthlyBudget, weight } = row
  const limits = { maxInFlight, maxQueued, submitsPerMinute, monthlyBudget, weight }
  return { id: row.id as AppId, name: row.name, limits }
}

const KEY_INFO_COLUMNS = {
  prefix: apiKeys.prefix,
  createdAt: apiKeys.createdAt,
  expiresAt: apiKeys.expiresAt,
}

export function createAppStore(db: Db): Omit<AppStore, 'usage'> {
  const byPrefix = db
    .select()
    .from(apiKeys)
    .where(eq(apiKeys.prefix, sql.placeholder('prefix')))
    .prepare()

  const byId = db
    .select()
    .from(apps)
    .where(eq(apps.id, sql.placeholder('id')))
    .prepare()

  const selectKeys = (from: Db | Tx, appId: AppId) =>
    from
      .select(KEY_INFO_COLUMNS)
      .from(apiKeys)
      .where(eq(apiKeys.appId, appId))
      .orderBy(asc(apiKeys.createdAt), asc(apiKeys.prefix))
      .all()

  return {
    async createApp(name, now, { limits = {}, key } = {}) {
      const created = db.transaction(
        tx => {
          const row = tx
            .insert(apps)
            .values({ ...limits, id: uuidv7(), name, createdAt: now })
            .onConflictDoNothing()
            .returning()
            .get()
          if (row !== undefined && key !== undefined)
            tx.insert(apiKeys)
              .values({ ...key, appId: row.id, createdAt: now })
              .run()
          return row
        },
        { behavior: 'immediate' },
      )
      return created ? toApp(created) : null
    },

    async getApp(id) {
      const row = byId.get({ id })
      return row ? toApp(row) : null
    },

    async findAppByName(name) {
      const row = db.select().from(apps).where(eq(apps.name, name)).get()
      return row ? toApp(row) : null
    },

    listApps: async () => db.select().from(apps).orderBy(asc(apps.name)).all().map(toApp),

    countApps: async () => db.select({ n: count() }).from(apps).get()!.n,

    async setLimits(id, patch) {
      // `id` is set to itself because a patch may be empty.
      const row = db
        .update(apps)
        .set({ id, ...patch })
        .where(eq(apps.id, id))
        .returning()
        .get()
      return row ? toApp(row) : null
    },

    listKeys: async appId => selectKeys(db, appId),

    addKey: async (appId, key, now) =>
      void db
        .insert(apiKeys)
        .values({ ...key, appId, createdAt: now })
        .run(),

    async findKey(prefix) {
      const row = byPrefix.get({ prefix })
      return row ? { ...row, appId: row.appId as AppId } : null
    },

    rotateKeys: async (appId, key, oldKeysExpireAt, now) =>
      db.transaction(
        tx => {
          const validKeys = selectKeys(tx, appId).filter(
            ({ expiresAt }) => expiresAt === null || expiresAt > now,
          )
          tx.update(apiKeys)
            .set({ expiresAt: oldKeysExpireAt })
            .where(
              and(
                eq(apiKeys.appId, appId),
                or(isNull(apiKeys.expiresAt), gt(apiKeys.expiresAt, oldKeysExpireAt)),
              ),
            )
            .run()
          tx.insert(apiKeys)
            .values({ ...key, appId, createdAt: now })
            .run()
          return validKeys.map(validKey => ({
            ...validKey,
            expiresAt: Math.min(validKey.expiresAt ?? oldKeysExpireAt, oldKeysExpireAt),
          }))
        },
        { behavior: 'immediate' },
      ),

    revokeKey: async prefix => db.delete(apiKeys).where(eq(apiKeys.prefix, prefix)).run().changes > 0,

    revokeAllKeys: async appId =>
      db
        .delete(apiKeys)
        .where(eq(apiKeys.appId, appId))
        .returning({ prefix: apiKeys.prefix })
        .all()
        .map(({ prefix }) => prefix),

    pruneKeys: async expiredBefore =>
      db.delete(apiKeys).where(lt(apiKeys.expiresAt, expiredBefore)).run().changes,
  }
}
