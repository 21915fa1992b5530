/**
 * Opens the database of `npm run app`, beside a gateway that may run on it.
 * Invariant: every obstacle becomes a StartupError, and the store is always closed.
 */
import { existsSync } from 'node:fs'
import { loadConfig } from '../../config/config.ts'
import { StartupError } from '../../domain/errors.ts'
import { toStartupError } from '../../store/sqlite/sqlite-errors.ts'
import { openSqliteStore } from '../../store/sqlite/sqlite-store.ts'
import type { Store } from '../../store/store.ts'

/** A running gateway holds the lock for milliseconds. */
const LOCK_TIMEOUT_MS = 5000

export type Env = Readonly<Record<string, string | undefined>>

/** @param createIfMissing whether to create a missing database */
export async function withStore<Result>(
  env: Env,
  createIfMissing: boolean,
  use: (store: Store) => Promise<Result>,
  lockTimeoutMs = LOCK_TIMEOUT_MS,
): Promise<Result> {
  const { databaseFile: file } = loadConfig(env)
  if (file === ':memory:')
    throw new StartupError('DATABASE_URL: a database in memory cannot be shared with a gateway; name a file.')
  if (!createIfMissing && !existsSync(file))
    throw new StartupError(
      `DATABASE_URL: there is no database ${file}. Name the gateway's, or create one with "create".`,
    )
  const store = openSqliteStore(file, () => {}, { lockTimeoutMs })
  try {
    return await use(store)
  } catch (error) {
    throw toStartupError(error, file)
  } finally {
    await store.close()
  }
}
