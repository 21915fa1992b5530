/**
 * The Store over one SQLite file.
 */
import { randomBytes } from 'node:crypto'
import type { Facts, Store } from '../store.ts'
import { createUsage } from './app-usage.ts'
import { createApps } from './apps.ts'
import { type Db, inSentences, openDatabase } from './connection.ts'
import { and, eq, gt, sql } from './drizzle.ts'
import { createEvents } from './events.ts'
import { createGroup } from './group-commit.ts'
import { createPredictions } from './predictions/write.ts'
import { createQueue } from './queue/queue.ts'
import { BEGUN, IN_FLIGHT, meta, predictions, WAITING } from './schema.ts'
import { createSharedStatements } from './shared-statements.ts'
import { createUploads } from './uploads.ts'

export interface SqliteOptions {
  /**
   * No other process may open it so until this one closes it or dies. So whoever held a lease on a row is gone: what was
   * begun is due for the reconciler at once, what upstream works on for a look, and what waits for one at its image.
   */
  alone?: boolean
  /** How long a lock of another process is waited for; everything here stands still meanwhile. Default 100 ms. */
  patienceMs?: number
}

/**
 * @param file a path, or `:memory:`
 * @param ring called after every commit that wrote an event or put a row where a worker may want it
 * @throws StartError where the file can't be used
 */
export function openSqlite(file: string, ring: () => void, options: SqliteOptions = {}): Store {
  const { alone = false } = options
  const { db, close } = openDatabase(file, { ...options, alone })
  try {
    if (alone) inSentences(file, () => takeOver(db))
    const group = createGroup(db, ring)
    const shared = createSharedStatements(db)
    return {
      ...createFacts(db, file),
      ...createPredictions(db, group, shared),
      ...createQueue(db, ring, shared),
      ...createEvents(db),
      ...createApps(db),
      ...createUploads(db),
      usage: createUsage(db, shared.spending),
      ping: async () => void db.get(sql`select 1`),
      async close() {
        group.flush()
        close()
      },
    }
  } catch (error) {
    close()
    throw error
  }
}

/** Each by its index: one statement for all three reads every row that ever was, and keeps 16 MB of them in mind. */
function takeOver(db: Db): void {
  db.transaction(tx => {
    for (const where of [BEGUN, IN_FLIGHT, and(WAITING, gt(predictions.dueAt, Date.now()))])
      tx.update(predictions).set({ dueAt: 0 }).where(where).run()
  })
}

function createFacts(db: Db, file: string): Facts {
  const read = (name: string) => db.select().from(meta).where(eq(meta.name, name)).get()?.value
  const fact = (name: string, first: () => string): string =>
    inSentences(file, () => {
      const known = read(name)
      if (known !== undefined) return known
      db.insert(meta).values({ name, value: first() }).onConflictDoNothing().run()
      return read(name)!
    })
  const random = (name: string, bytes: number) =>
    Buffer.from(
      fact(name, () => randomBytes(bytes).toString('hex')),
      'hex',
    )
  return {
    epoch: random('epoch', 8),
    cursorKey: random('cursor_key', 16),
    webhookKey: random('webhook_key', 32),
    tokenKey: random('token_key', 32),
    bindUpstream: async upstream => fact('upstream', () => upstream),
  }
}
