/**
 * The Store over one SQLite file.
 */
import { randomBytes } from 'node:crypto'
import { eq, sql } from 'drizzle-orm'
import type { Facts, Store } from '../store.ts'
import { createApps } from './apps.ts'
import { type Db, openDatabase } from './database.ts'
import { createEvents } from './events.ts'
import { createPredictions } from './predictions.ts'
import { createQueue } from './queue.ts'
import { meta } from './tables.ts'

/**
 * @param file a path, or `:memory:`
 * @param ring called after every commit that wrote an event or put a row where a worker may want it
 * @throws StartError where the file can't be used
 */
export function openSqlite(file: string, ring: () => void): Store {
  const { db, close } = openDatabase(file)
  return {
    ...createFacts(db),
    ...createPredictions(db, ring),
    ...createQueue(db, ring),
    ...createEvents(db),
    ...createApps(db),
    ping: async () => void db.get(sql`select 1`),
    close: async () => close(),
  }
}

function createFacts(db: Db): Facts {
  const fact = (name: string, first: () => string): string => {
    db.insert(meta).values({ name, value: first() }).onConflictDoNothing().run()
    return db.select().from(meta).where(eq(meta.name, name)).get()!.value
  }
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
