/**
 * Opens the store of a database URL. It alone imports the engines, and loads only the one that the URL names.
 */
import { locateDatabase } from '../domain/database-url.ts'
import type { Store, StoreOptions } from './store.ts'

/**
 * @param url `file:PATH`, or `file::memory:`
 * @param notify called after every commit that wrote an event or made a row due for a worker
 * @throws StartupError if no engine accepts the URL, or the database can't be used
 */
export async function openStore(url: string, notify: () => void, options: StoreOptions = {}): Promise<Store> {
  const { engine, file } = locateDatabase(url)
  switch (engine) {
    case 'SQLite': {
      const { openSqliteStore } = await import('./sqlite/sqlite-store.ts')
      return openSqliteStore(file, notify, options)
    }
  }
}
