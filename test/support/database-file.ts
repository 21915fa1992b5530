/**
 * Reads the SQLite file directly, not through the store.
 * Invariant: the file is opened for each query. A reader that stays open would hold the WAL open across the gateway's
 * restarts.
 */
import Database from 'better-sqlite3'

export function queryDatabaseFile<Fact>(file: string, query: (db: Database.Database) => Fact): Fact {
  const db = new Database(file, { readonly: true })
  try {
    return query(db)
  } finally {
    db.close()
  }
}
