/**
 * The database `npm run app` writes to, beside a gateway that may run on it.
 * Invariant: whatever stands in the way of it is one sentence, and nothing is left open.
 */
import { existsSync } from 'node:fs'
import { loadConfig } from '../../config/config.ts'
import { StartError } from '../../domain/errors.ts'
import { sentence } from '../../store/sqlite/connection.ts'
import { openSqlite } from '../../store/sqlite/sqlite-store.ts'
import type { Store } from '../../store/store.ts'

/** The gateway holds the file for milliseconds. */
const PATIENCE_MS = 5000

export type Env = Readonly<Record<string, string | undefined>>

/** @param make whether a database that is not there is made */
export async function withStore<Answer>(
  env: Env,
  make: boolean,
  ask: (store: Store) => Promise<Answer>,
  patienceMs = PATIENCE_MS,
): Promise<Answer> {
  const { databaseFile: file } = loadConfig(env)
  if (file === ':memory:')
    throw new StartError("DATABASE_URL: a database in memory is nobody else's; name a file.")
  if (!make && !existsSync(file))
    throw new StartError(
      `DATABASE_URL: there is no database ${file}. Name the gateway's, or make one with "create".`,
    )
  const store = openSqlite(file, () => {}, { patienceMs })
  try {
    return await ask(store)
  } catch (error) {
    throw sentence(error, file)
  } finally {
    await store.close()
  }
}
