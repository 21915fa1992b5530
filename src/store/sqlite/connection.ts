/**
 * Opens, checks and migrates a SQLite file.
 * Invariant: an answer given to an app survives a power cut. Therefore `synchronous` is FULL: better-sqlite3 sets
 * NORMAL in WAL mode, and a paid job could be forgotten.
 */
import { accessSync, constants, existsSync, mkdirSync } from 'node:fs'
import { basename, dirname, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import Database from 'better-sqlite3'
import { IN_MEMORY } from '../../domain/database-url.ts'
import { StartupError } from '../../domain/errors.ts'
import { type BetterSQLite3Database, drizzle, migrate, readMigrationFiles, sql } from './drizzle.ts'
import { assertSingleName, createPrivateFile, makePrivate, watchFiles } from './file-identity.ts'
import { lockExclusively, lockForMigration } from './file-lock.ts'
import { toStartupError, withStartupErrors } from './sqlite-errors.ts'

export type Db = BetterSQLite3Database & { $client: Database.Database }
export type Tx = Parameters<Parameters<Db['transaction']>[0]>[0]

const MIGRATIONS = { migrationsFolder: fileURLToPath(new URL('./migrations', import.meta.url)) }

interface DatabaseOptions {
  /**
   * Takes an exclusive lock until `close` or the end of the process. Processes that only read and write rows are not
   * kept out.
   */
  exclusive: boolean
  /** Max wait for a lock of another process, ms (default 100). The event loop is blocked meanwhile. */
  lockTimeoutMs?: number
}

const LOCK_TIMEOUT_MS = 100

export interface OpenedDatabase {
  db: Db
  /** Null while the files on disk are the open ones; otherwise a sentence that says which is not. */
  findFileFault(): string | null
  /** Copies what only the journal has to the database, if it is still in its place. */
  saveJournal(): void
  close(): void
}

/**
 * @param file a path, or `:memory:`. A folder named `data` (the default) is created; any other must exist.
 * @throws StartupError: folder missing, not readable, not a database, of another program, of a newer version, or locked
 */
export function openDatabase(file: string, options: DatabaseOptions): OpenedDatabase {
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
      // Lock before migrating: a newer program would change the tables under a running one.
      if (exclusive) release = lockExclusively(file)
      else if (!isSchemaCurrent(db))
        release = lockForMigration(file, lockTimeoutMs, () => isSchemaCurrent(db))
      // Only after the check: the journal mode is stored in the file.
      db.run(sql`pragma journal_mode = WAL`)
      migrate(db, MIGRATIONS)
      if (!exclusive) release()
      if (file !== IN_MEMORY) makePrivate(file)
      return { db, ...watchDatabase(client, file, exclusive), close }
    })
  } catch (error) {
    close()
    throw error
  }
}

/** Only a gateway watches its files: a command ends before anybody could notice. */
function watchDatabase(
  client: Database.Database,
  file: string,
  exclusive: boolean,
): Pick<OpenedDatabase, 'findFileFault' | 'saveJournal'> {
  if (file === IN_MEMORY || !exclusive) return { findFileFault: () => null, saveJournal: () => {} }
  const findFault = watchFiles(file)
  return {
    findFileFault() {
      const fault = findFault()
      if (fault === null) return null
      return `${fault.path} was ${fault.isMissing ? 'deleted' : 'replaced'} while the gateway runs: nothing more is accepted or sent. Put the file back, or restart the gateway on the database that you want.`
    },
    saveJournal() {
      const fault = findFault()
      // A journal of another process belongs to another copy of the database.
      if (fault === null || !fault.isMissing || !/-(wal|shm)$/.test(fault.path)) return
      client.pragma('wal_checkpoint(PASSIVE)')
    },
  }
}

function openFile(file: string, lockTimeoutMs: number): Database.Database {
  if (file !== IN_MEMORY) {
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
    assertSingleName(file)
  }
  let client: Database.Database | undefined
  try {
    if (file !== IN_MEMORY) createPrivateFile(file)
    client = new Database(file)
    // Waiting for a lock blocks the event loop.
    client.pragma(`busy_timeout = ${lockTimeoutMs}`)
    client.pragma('synchronous = FULL')
    client.pragma('foreign_keys = ON')
    // A file for each savepoint would take 30 of the 40 µs of a write (measured).
    client.pragma('temp_store = MEMORY')
    // The first statement that reads the file: it fails if the file is not a database.
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

/** Needs the table `__drizzle_migrations`. */
const appliedHashes = (db: Db) =>
  db.all<{ hash: string }>(sql`select hash from __drizzle_migrations`).map(({ hash }) => hash)

function isSchemaCurrent(db: Db): boolean {
  const [table] = db.all(sql`select 1 from sqlite_master where name = '__drizzle_migrations'`)
  if (table === undefined) return false
  const applied = appliedHashes(db)
  return migrationHashes().every(hash => applied.includes(hash))
}

function assertOwnDatabase(db: Db, file: string): void {
  const tables = db.all<{ name: string }>(
    sql`select name from sqlite_master where type = 'table' and name not like 'sqlite_%'`,
  )
  const names = new Set(tables.map(table => table.name))
  // A first start that was killed leaves `__drizzle_migrations` as the only table.
  const isOwn = names.has('__drizzle_migrations') && (names.size === 1 || names.has('predictions'))
  if (tables.length > 0 && !isOwn)
    throw new StartupError(`DATABASE_URL: ${file} is the database of another program.`)
  if (isOwn) {
    const known = migrationHashes()
    if (appliedHashes(db).some(hash => !known.includes(hash)))
      throw new StartupError(
        `DATABASE_URL: ${file} was written by a newer Rushes than this one. Start that one, or name another file.`,
      )
  }
}
