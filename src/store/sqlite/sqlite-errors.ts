/**
 * SQLite errors about an unusable file become one sentence for the operator. Any other error is a bug and stays as it
 * is.
 */
import Database from 'better-sqlite3'
import { StartupError } from '../../domain/errors.ts'
import { DrizzleError } from './drizzle.ts'

/** Runs `run`; throws its SQLite errors about an unusable file as StartupErrors. */
export function withStartupErrors<Result>(file: string, run: () => Result): Result {
  try {
    return run()
  } catch (error) {
    throw toStartupError(error, file)
  }
}

/** The StartupError for a SQLite error about an unusable file; any other error as it is. */
export function toStartupError(error: unknown, file: string): unknown {
  const cause = error instanceof DrizzleError ? (error.cause ?? error) : error
  const code = cause instanceof Database.SqliteError ? cause.code : ''
  if (code === 'SQLITE_NOTADB') return new StartupError(`DATABASE_URL: ${file} is not a SQLite database.`)
  if (code.startsWith('SQLITE_CORRUPT'))
    return new StartupError(`DATABASE_URL: ${file} is damaged (${code}). Restore it from a backup.`)
  if (/^SQLITE_(BUSY|LOCKED)/.test(code))
    return new StartupError(
      `DATABASE_URL: ${file} is locked by another process (${code}). Try again when that is done.`,
    )
  if (/^SQLITE_(CANTOPEN|READONLY|PERM|AUTH|IOERR|FULL)/.test(code) || error instanceof DrizzleError)
    return new StartupError(
      `DATABASE_URL: ${file} can't be opened for writing (${code || (cause as Error).message}).`,
    )
  return error
}
