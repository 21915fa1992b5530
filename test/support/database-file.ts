/**
 * What a SQLite file says itself, read past everything of the gateway's but its tables.
 * Invariant: it is opened for each question; a reader that stays would hold its WAL open across the gateway's restarts.
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
