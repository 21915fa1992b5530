/**
 * The Store over one SQLite file.
 */
import { randomBytes } from 'node:crypto'
import { eq, or, sql } from 'drizzle-orm'
import type { Facts, Store } from '../store.ts'
import { createApps } from './apps.ts'
import { type Db, inSentences, openDatabase } from './database.ts'
import { createEvents } from './events.ts'
import { createPredictions } from './predictions.ts'
import { createQueue } from './queue.ts'
import { BEGUN, IN_FLIGHT, meta, predictions } from './tables.ts'

export interface SqliteOptions {
  /**
   * No other process may open it so until this one closes it or dies. So whoever held a lease on a row is gone: what was
   * begun is due for the reconciler at once, and what upstream works on for a look.
   */
  alone?: boolean
}

/**
 * @param file a path, or `:memory:`
 * @param ring called after every commit that wrote an event or put a row where a worker may want it
 * @throws StartError where the file can't be used
 */
export function openSqlite(file: string, ring: () => void, { alone = false }: SqliteOptions = {}): Store {
  const { db, close } = openDatabase(file, { alone })
  try {
    if (alone)
      inSentences(file, () => db.update(predictions).set({ dueAt: 0 }).where(or(BEGUN, IN_FLIGHT)).run())
    return {
      ...createFacts(db, file),
      ...createPredictions(db, ring),
      ...createQueue(db, ring),
      ...createEvents(db),
      ...createApps(db),
      ping: async () => void db.get(sql`select 1`),
      close: async () => close(),
    }
  } catch (error) {
    close()
    throw error
  }
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
  return {
    epoch: Buffer.from(
      fact('epoch', () => randomBytes(8).toString('hex')),
      'hex',
    ),
    cursorKey: Buffer.from(
      fact('cursor_key', () => randomBytes(16).toString('hex')),
      'hex',
    ),
    bindUpstream: async upstream => fact('upstream', () => upstream),
  }
}
