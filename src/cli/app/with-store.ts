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
export const COMMAND_LOCK_TIMEOUT_MS = 5000

export type Env = Readonly<Record<string, string | undefined>>

/** The URL of the database. Throws a StartupError if it can't be shared with a gateway, or is missing. */
export function findDatabase(env: Env, mayBeMissing: boolean): string {
  const { databaseUrl } = loadConfig(env)
  const { file } = locateDatabase(databaseUrl)
  if (file === IN_MEMORY)
    throw new StartupError('DATABASE_URL: a database in memory cannot be shared with a gateway; name a file.')
  if (!mayBeMissing && !existsSync(file))
    throw new StartupError(
      `DATABASE_URL: there is no database ${file}. Name the gateway's, or create one with "create".`,
    )
  return databaseUrl
}

/** @param createIfMissing whether to create a missing database */
export async function withStore<Result>(
  env: Env,
  createIfMissing: boolean,
  use: (store: Store) => Promise<Result>,
  lockTimeoutMs = COMMAND_LOCK_TIMEOUT_MS,
): Promise<Result> {
  const databaseUrl = findDatabase(env, createIfMissing)
  const store = await openStore(databaseUrl, () => {}, { lockTimeoutMs })
  try {
    return await use(store)
  } catch (error) {
    throw store.toStartupError(error)
  } finally {
    await store.close()
  }
}
