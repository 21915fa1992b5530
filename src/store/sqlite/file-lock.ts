/**
 * The lock of a database file: held by a gateway as long as it runs, and by any process while it migrates.
 */
import Database from 'better-sqlite3'
import { IN_MEMORY } from '../../domain/database-url.ts'
import { StartupError } from '../../domain/errors.ts'
import { createPrivateFile, lockFileOf } from './file-identity.ts'
import { toStartupError, withStartupErrors } from './sqlite-errors.ts'

/** Enough for a command that creates the tables. Another gateway holds the lock longer. */
const STARTUP_LOCK_TIMEOUT_MS = 500
/** Between two attempts the schema is read again. */
const ATTEMPT_TIMEOUT_MS = 100

/**
 * @returns the function that releases the lock
 * @throws StartupError if another gateway has the lock
 */
export function lockExclusively(file: string): () => void {
  const release = tryLock(file, STARTUP_LOCK_TIMEOUT_MS)
  if (release !== null) return release
  throw new StartupError(
    `DATABASE_URL: another gateway runs on ${file}. One process a file: stop it, or name another.`,
  )
}

/**
 * Waits for the lock or for a current schema, because the process that holds the lock may be about to migrate.
 * @returns the function that releases the lock
 * @throws StartupError if neither comes within `lockTimeoutMs`
 */
export function lockForMigration(
  file: string,
  lockTimeoutMs: number,
  isSchemaCurrent: () => boolean,
): () => void {
  const deadline = Date.now() + lockTimeoutMs
  for (;;) {
    const release = tryLock(file, ATTEMPT_TIMEOUT_MS)
    if (release !== null) return release
    if (isSchemaCurrent()) return () => {}
    if (Date.now() >= deadline)
      throw new StartupError(
        `DATABASE_URL: a gateway of an earlier version runs on ${file}, whose tables have to change. Stop it first.`,
      )
  }
}

/**
 * Null if another process has the lock. It is the operating system's lock on a file beside the database, found under
 * any name that a link gives the database.
 */
function tryLock(file: string, timeoutMs: number): (() => void) | null {
  if (file === IN_MEMORY) return () => {}
  const path = lockFileOf(file)
  const lock = withStartupErrors(path, () => {
    createPrivateFile(path)
    return new Database(path, { timeout: timeoutMs })
  })
  try {
    lock.exec('begin exclusive')
    // If the file can't be written, SQLite takes a lock that excludes no other process. This write fails then.
    lock.pragma('user_version = 1')
    return () => void lock.close()
  } catch (error) {
    lock.close()
    if (error instanceof Database.SqliteError && error.code.startsWith('SQLITE_BUSY')) return null
    throw toStartupError(error, path)
  }
}
