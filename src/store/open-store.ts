/**
 * Opens the store of a database URL, or copies its database. It alone imports the engines, and loads only the one that
 * the URL names.
 */
import { findDatabaseUrlFault, locateDatabase } from '../domain/database-url.ts'
import type { BackupResult, Store, StoreOptions } from './store.ts'

/**
 * @param url `file:PATH`, or `file::memory:`
 * @param notify called after every commit that wrote an event or made a row due for a worker
 * @throws StartupError if no engine accepts the URL, or the database can't be used
 */
export async function openStore(url: string, notify: () => void, options: StoreOptions = {}): Promise<Store> {
  const { engine, file } = locateDatabase(url)
  const { openSqliteStore } = await ENGINE_MODULES[engine]()
  return openSqliteStore(file, notify, options)
}

/** Loads the engine of a database URL without opening anything. An invalid URL is left to `openStore`. */
export async function preloadEngine(url: string): Promise<void> {
  if (findDatabaseUrlFault(url) === null) await ENGINE_MODULES[locateDatabase(url).engine]()
}

const ENGINE_MODULES = {
  SQLite: () => import('./sqlite/sqlite-store.ts'),
}

/**
 * Copies the database to the file `target` while gateways use it, and verifies the copy. An existing file is never
 * replaced.
 * @param lockTimeoutMs max wait for a lock of another process
 * @throws StartupError if the database can't be read or the copy can't be written
 */
export async function backUpDatabase(
  url: string,
  target: string,
  lockTimeoutMs: number,
): Promise<BackupResult> {
  const { engine, file } = locateDatabase(url)
  switch (engine) {
    case 'SQLite': {
      const { backUpSqliteFile } = await import('./sqlite/backup.ts')
      return backUpSqliteFile(file, target, lockTimeoutMs)
    }
  }
}
