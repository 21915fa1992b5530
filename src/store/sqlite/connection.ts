/**
 * One SQLite file, opened, checked and migrated.
 * Invariant: an answer given to an app survives a power cut, so `synchronous` is FULL: in WAL better-sqlite3
 * would take NORMAL, and a paid job could be forgotten.
 */
import { accessSync, constants, existsSync, mkdirSync, realpathSync } from 'node:fs'
import { basename, dirname, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import Database from 'better-sqlite3'
import { StartupError } from '../../domain/errors.ts'
import {
  type BetterSQLite3Database,
  DrizzleError,
  drizzle,
  migrate,
  readMigrationFiles,
  sql,
} from './drizzle.ts'

export type Db = BetterSQLite3Database & { $client: Database.Database }
export type Tx = Parameters<Parameters<Db['transaction']>[0]>[0]

const MIGRATIONS = { migrationsFolder: fileURLToPath(new URL('./migrations', import.meta.url)) }

export interface DatabaseOptions {
  /**
   * Holds the file until `close`, or until the process is gone, however it went. Whoever else only reads and writes rows
   * is not kept out.
   */
  exclusive: boolean
  /** How long a lock of another process is waited for. Meanwhile everything here stands still. Default 100 ms. */
  lockTimeoutMs?: number
}

const LOCK_TIMEOUT_MS = 100
/** A command that makes the tables is done by then; another gateway is not. */
const STARTUP_LOCK_TIMEOUT_MS = 500

/**
 * @param file a path, or `:memory:`. The folder of the default, `data`, is made; any other must exist.
 * @throws StartupError in one sentence: no folder, not readable, no database, another program's, a newer one, held.
 */
export function openDatabase(file: string, options: DatabaseOptions): { db: Db; close: () => void } {
  const { exclusive, lockTimeoutMs = LOCK_TIMEOUT_MS } = options
  const client = openFile(file, lockTimeoutMs)
  let release = () => {}
  const close = () => {
    client.close()
    release()
  }
  try {
    return withStartupErrors(file, () => {
      const db = drizzle(client, { casing: 'snake_case' })
      assertOwnDatabase(db, file)
      // Not after the migration: a newer program would have changed the tables under a running one.
      if (exclusive) release = lockExclusively(file)
      else if (!isSchemaCurrent(db)) release = lockForMigration(db, file, lockTimeoutMs)
      // Not before it is known to be ours: the mode stays with the file.
      db.run(sql`pragma journal_mode = WAL`)
      migrate(db, MIGRATIONS)
      if (!exclusive) release()
      return { db, close }
    })
  } catch (error) {
    close()
    throw error
  }
}

function lockExclusively(file: string): () => void {
  const release = tryLock(file, STARTUP_LOCK_TIMEOUT_MS)
  if (release !== null) return release
  throw new StartupError(
    `DATABASE_URL: another gateway runs on ${file}. One process a file: stop it, or name another.`,
  )
}

/** Whoever holds the file may be about to bring the tables up to date itself. */
function lockForMigration(db: Db, file: string, lockTimeoutMs: number): () => void {
  const deadline = Date.now() + lockTimeoutMs
  for (;;) {
    const release = tryLock(file, LOCK_TIMEOUT_MS)
    if (release !== null) return release
    if (isSchemaCurrent(db)) return () => {}
    if (Date.now() >= deadline)
      throw new StartupError(
        `DATABASE_URL: a gateway of an earlier version runs on ${file}, whose tables have to change. Stop it first.`,
      )
  }
}

/** Null if another process has it. The lock is the operating system's, on a file beside the real one, whatever links lead there. */
function tryLock(file: string, timeoutMs: number): (() => void) | null {
  if (file === ':memory:') return () => {}
  const path = `${realpathSync(file)}.lock`
  const lock = withStartupErrors(path, () => new Database(path, { timeout: timeoutMs }))
  try {
    lock.exec('begin exclusive')
    // Where the file can't be written SQLite would take a lock that keeps nobody out, and say nothing.
    lock.pragma('user_version = 1')
    return () => void lock.close()
  } catch (error) {
    lock.close()
    if (error instanceof Database.SqliteError && error.code.startsWith('SQLITE_BUSY')) return null
    throw toStartupError(error, path)
  }
}

function openFile(file: string, lockTimeoutMs: number): Database.Database {
  if (file !== ':memory:') {
    const folder = dirname(resolve(file))
    if (!existsSync(folder) && basename(folder) === 'data') makeFolder(folder)
    if (!existsSync(folder))
      throw new StartupError(`DATABASE_URL: the folder ${folder} does not exist. Make it, or name another.`)
    const accessedPath = existsSync(file) ? file : folder
    try {
      accessSync(accessedPath, constants.R_OK | constants.W_OK)
    } catch {
      throw new StartupError(`DATABASE_URL: no permission to read and write ${accessedPath}.`)
    }
  }
  let client: Database.Database | undefined
  try {
    client = new Database(file)
    // Waiting for a lock stands still: a request, a socket, everything.
    client.pragma(`busy_timeout = ${lockTimeoutMs}`)
    client.pragma('synchronous = FULL')
    client.pragma('foreign_keys = ON')
    // Or each savepoint has a file of its own: 30 µs of a write that takes 40 (measured).
    client.pragma('temp_store = MEMORY')
    // The first that reads the file: what is no database shows here.
    client.pragma('schema_version')
    return client
  } catch (error) {
    client?.close()
    throw toStartupError(error, file)
  }
}

function makeFolder(folder: string): void {
  try {
    mkdirSync(folder)
  } catch (error) {
    throw new StartupError(
      `DATABASE_URL: the folder ${folder} can't be made (${(error as NodeJS.ErrnoException).code}).`,
    )
  }
}

const migrationHashes = () => readMigrationFiles(MIGRATIONS).map(migration => migration.hash)

function isSchemaCurrent(db: Db): boolean {
  const [table] = db.all(sql`select 1 from sqlite_master where name = '__drizzle_migrations'`)
  if (table === undefined) return false
  const applied = db.all<{ hash: string }>(sql`select hash from __drizzle_migrations`).map(({ hash }) => hash)
  return migrationHashes().every(hash => applied.includes(hash))
}

function assertOwnDatabase(db: Db, file: string): void {
  const tables = db.all<{ name: string }>(
    sql`select name from sqlite_master where type = 'table' and name not like 'sqlite_%'`,
  )
  const names = new Set(tables.map(table => table.name))
  // Alone, that table is what a first start that was killed has left.
  const isOwn = names.has('__drizzle_migrations') && (names.size === 1 || names.has('predictions'))
  if (tables.length > 0 && !isOwn)
    throw new StartupError(`DATABASE_URL: ${file} is the database of another program.`)
  if (isOwn) {
    const known = migrationHashes()
    const applied = db.all<{ hash: string }>(sql`select hash from __drizzle_migrations`)
    if (applied.some(migration => !known.includes(migration.hash)))
      throw new StartupError(
        `DATABASE_URL: ${file} was written by a newer Rushes than this one. Start that one, or name another file.`,
      )
  }
}

/** Runs it; SQLite's own words for a file it can't use become a sentence, anything else is a bug and stays what it is. */
export function withStartupErrors<Result>(file: string, run: () => Result): Result {
  try {
    return run()
  } catch (error) {
    throw toStartupError(error, file)
  }
}

/** SQLite's own words for a file it can't use as a StartupError; anything else as it is. */
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
