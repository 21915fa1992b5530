/**
 * Reads a `DATABASE_URL`: which engine it names, and where that engine keeps its data. Pure.
 * Invariant: no message contains the URL, since the URL of a database server may contain a password.
 */
import { StartupError } from './errors.ts'

/** The file of a database in the memory of one process. No other process can open it. */
export const IN_MEMORY = ':memory:'

export interface DatabaseLocation {
  engine: 'SQLite'
  /** A path, or `IN_MEMORY`. */
  file: string
}

/** Why no engine accepts the URL; null if one does. */
export function findDatabaseUrlFault(url: string): string | null {
  if (/^postgres(ql)?:/.test(url)) return 'PostgreSQL is not supported yet; use file:PATH'
  return filePath(url) === null ? 'expected file:PATH, as in file:data/rushes.db' : null
}

/** @throws StartupError if no engine accepts the URL */
export function locateDatabase(url: string): DatabaseLocation {
  const fault = findDatabaseUrlFault(url)
  if (fault !== null) throw new StartupError(`DATABASE_URL: ${fault}.`)
  return { engine: 'SQLite', file: filePath(url)! }
}

/** Null if the URL is not `file:PATH`. `file://host/path` is not: a file is on this machine. */
function filePath(url: string): string | null {
  const path = /^file:(?:\/\/(?=\/))?(.+)$/.exec(url)?.[1]
  return path === undefined || path.startsWith('//') ? null : path
}
