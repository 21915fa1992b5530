/**
 * Opens the database of `npm run app`, beside a gateway that may run on it.
 * Invariant: every obstacle becomes a StartupError, and the store is always closed.
 */
import { existsSync } from 'node:fs'
import { loadConfig } from '../../config/config.ts'
import { IN_MEMORY, locateDatabase } from '../../domain/database-url.ts'
import { StartupError } from '../../domain/errors.ts'
import { openStore } from '../../store/open-store.ts'
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
  const { databaseUrl } = loadConfig(env)
  const { file } = locateDatabase(databaseUrl)
  if (file === IN_MEMORY)
    throw new StartupError('DATABASE_URL: a database in memory cannot be shared with a gateway; name a file.')
  if (!createIfMissing && !existsSync(file))
    throw new StartupError(
      `DATABASE_URL: there is no database ${file}. Name the gateway's, or create one with "create".`,
    )
  const store = await openStore(databaseUrl, () => {}, { lockTimeoutMs })
  try {
    return await use(store)
  } catch (error) {
    throw store.toStartupError(error)
  } finally {
    await store.close()
  }
}
