/**
 * SQLite errors about an unusable file become one sentence for the operator. Any other error is a bug and stays as it
 * is.
 */
import Database from 'better-sqlite3'
import { DatabaseUnavailable, StartupError } from '../../domain/errors.ts'
import type { DatabaseFault } from '../store.ts'
import { DrizzleError } from './drizzle.ts'

/** Why the database can't be written; null if the error says nothing about that. */
export function findDatabaseFault(error: unknown): DatabaseFault | null {
  if (error instanceof DatabaseUnavailable) return error.fault as DatabaseFault
  const code = sqliteCode(error)
  if (/^SQLITE_(BUSY|LOCKED)/.test(code)) return 'locked'
  if (code === 'SQLITE_FULL') return 'full'
  return /^SQLITE_(IOERR|CANTOPEN|READONLY|PERM|AUTH|CORRUPT|NOTADB|PROTOCOL)/.test(code)
    ? 'unavailable'
    : null
}

/** The error that SQLite or Node reported. */
const causeOf = (error: unknown): unknown =>
  error instanceof DrizzleError || error instanceof DatabaseUnavailable
    ? error.cause === undefined
      ? error
      : causeOf(error.cause)
    : error

/** Empty for an error that SQLite did not report. */
function sqliteCode(error: unknown): string {
  const cause = causeOf(error)
  return cause instanceof Database.SqliteError ? cause.code : ''
}

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
  const cause = causeOf(error)
  const code = sqliteCode(error)
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
