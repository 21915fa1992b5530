/**
 * The store on one SQLite file.
 */
import { randomBytes } from 'node:crypto'
import type { DatabaseIdentity, Store, StoreOptions } from '../store.ts'
import { createAppUsage } from './app-usage.ts'
import { createAppStore } from './apps.ts'
import { type Db, openDatabase } from './connection.ts'
import { and, eq, gt, sql } from './drizzle.ts'
import { createEventStore } from './events.ts'
import { createGroupCommit } from './group-commit.ts'
import { IN_FLIGHT, SUBMIT_STARTED, WAITING } from './predicates.ts'
import { createPredictionStore } from './predictions/write.ts'
import { createQueueStore } from './queue/queue.ts'
import { NEXT_VERSION } from './row-version.ts'
import { meta, predictions } from './schema.ts'
import { createSharedParts } from './shared-parts.ts'
import { toStartupError, withStartupErrors } from './sqlite-errors.ts'
import { createUploadStore } from './uploads.ts'

/**
 * No other gateway may open the file until this one closes it or dies.
 * @param file a path, or `:memory:`
 * @throws StartupError if the file can't be used
 */
export function openSqliteStore(file: string, notify: () => void, options: StoreOptions = {}): Store {
  const { thisProcess, ...timeouts } = options
  const { db, close } = openDatabase(file, { ...timeouts, exclusive: thisProcess !== undefined })
  try {
    if (thisProcess !== undefined)
      withStartupErrors(file, () => expireAllLeases(db, thisProcess.gatewayStartedAt))
    const groupCommit = createGroupCommit(db, notify)
    const shared = createSharedParts(db)
    return {
      ...createDatabaseIdentity(db, file),
      ...createPredictionStore(db, groupCommit, shared),
      ...createQueueStore(db, notify, shared),
      ...createEventStore(db, shared),
      ...createAppStore(db),
      ...createUploadStore(db),
      usage: createAppUsage(db, shared.monthlySpend),
      ping: async () => void db.get(sql`select 1`),
      toStartupError: error => toStartupError(error, file),
      async close() {
        groupCommit.flush()
        close()
      },
    }
  } catch (error) {
    close()
    throw error
  }
}

/** Uses one update for each index: a single statement would read every row and keep 16 MB of them in memory. */
function expireAllLeases(db: Db, now: number): void {
  db.transaction(tx => {
    for (const where of [SUBMIT_STARTED, IN_FLIGHT, and(WAITING, gt(predictions.dueAt, now))])
      tx.update(predictions)
        .set({ ...NEXT_VERSION, dueAt: 0 })
        .where(where)
        .run()
  })
}

function createDatabaseIdentity(db: Db, file: string): DatabaseIdentity {
  const readMeta = (name: string) => db.select().from(meta).where(eq(meta.name, name)).get()?.value
  const readOrCreate = (name: string, initialValue: () => string): string =>
    withStartupErrors(file, () => {
      const existing = readMeta(name)
      if (existing !== undefined) return existing
      db.insert(meta).values({ name, value: initialValue() }).onConflictDoNothing().run()
      return readMeta(name)!
    })
  const randomSecret = (name: string, bytes: number) =>
    Buffer.from(
      readOrCreate(name, () => randomBytes(bytes).toString('hex')),
      'hex',
    )
  return {
    epoch: randomSecret('epoch', 8),
    cursorKey: randomSecret('cursor_key', 16),
    webhookKey: randomSecret('webhook_key', 32),
    tokenKey: randomSecret('token_key', 32),
    bindUpstream: async upstream => readOrCreate('upstream', () => upstream),
  }
}
