/**
 * Copies a database file beside a gateway that writes it, and verifies the copy.
 * The whole copy is one step in one read transaction. In WAL mode no writer waits for it. In steps of 100 pages it never
 * ended beside 300 commits a second: SQLite restarts it after each commit of another process (measured: 2,399 restarts in
 * 10 s; in one step 190 MB took 0.4 s). VACUUM INTO takes as long and is no part of a transaction, so its rows could not
 * be counted in the same moment.
 * Invariant: the target appears under its name only when it is whole, verified and on disk, and it replaces no file. Its
 * mode is 0600, because it has the secret keys of the database. The copy says that it is one: see restore.ts.
 */
import { randomBytes } from 'node:crypto'
import {
  closeSync,
  constants,
  copyFileSync,
  existsSync,
  fsyncSync,
  linkSync,
  openSync,
  rmSync,
  statSync,
} from 'node:fs'
import { dirname, resolve } from 'node:path'
import Database from 'better-sqlite3'
import { StartupError } from '../../domain/errors.ts'
import type { BackupResult } from '../store.ts'
import { withStartupErrors } from './sqlite-errors.ts'

/** Row of `meta` that only a copy has. The gateway that opens the copy deletes it. */
export const IS_COPY = 'is_copy'

/** Pages of one step: all that a file can have. */
const ALL_PAGES = 2_147_483_647

/**
 * The database is not migrated.
 * @param lockTimeoutMs max wait for a lock of another process
 * @throws StartupError if the database can't be read, or the target exists or can't be written
 */
export async function backUpSqliteFile(
  file: string,
  target: string,
  lockTimeoutMs: number,
): Promise<BackupResult> {
  const folder = dirname(resolve(target))
  if (!existsSync(folder)) throw new StartupError(`${target}: the folder ${folder} does not exist.`)
  if (existsSync(target)) throw alreadyExists(target)
  const partial = `${target}.partial-${randomBytes(4).toString('hex')}`
  withTargetErrors(target, () => closeSync(openSync(partial, 'wx', 0o600)))
  try {
    const rows = await copyInOneStep(file, partial, target, lockTimeoutMs)
    withTargetErrors(target, () => {
      verify(partial, rows)
      syncToDisk(partial)
      publish(partial, target)
    })
    rmSync(partial)
    syncToDisk(folder)
    return { bytes: statSync(target).size, rows }
  } finally {
    for (const suffix of ['', '-journal', '-wal', '-shm']) rmSync(partial + suffix, { force: true })
  }
}

/** Number of rows by table. */
type RowCounts = Record<string, number>

/** Returns the rows that the database had in the moment of the copy. */
async function copyInOneStep(
  file: string,
  partial: string,
  target: string,
  lockTimeoutMs: number,
): Promise<RowCounts> {
  const source = withStartupErrors(
    file,
    () => new Database(file, { fileMustExist: true, timeout: lockTimeoutMs }),
  )
  try {
    const rows = withStartupErrors(file, () => {
      source.exec('begin')
      return countRows(source)
    })
    if (rows.predictions === undefined)
      throw new StartupError(`DATABASE_URL: ${file} is not a database of this gateway.`)
    try {
      await source.backup(partial, { progress: () => ALL_PAGES })
    } catch (error) {
      throw toTargetError(error, target)
    }
    return rows
  } finally {
    source.close()
  }
}

function countRows(db: Database.Database): RowCounts {
  const tables = db
    .prepare<[], string>(
      "select name from sqlite_master where type = 'table' and name not like 'sqlite_%' order by name",
    )
    .pluck()
    .all()
  return Object.fromEntries(
    tables.map(table => [table, db.prepare<[], number>(`select count(*) from "${table}"`).pluck().get()!]),
  )
}

function verify(partial: string, expectedRows: RowCounts): void {
  const copy = new Database(partial)
  try {
    // One file, without a WAL beside it that could be left behind.
    copy.pragma('journal_mode = DELETE')
    const rows = countRows(copy)
    const wrong = Object.keys(expectedRows).find(table => rows[table] !== expectedRows[table])
    if (wrong !== undefined)
      throw new StartupError(
        `the copy has ${rows[wrong]} rows of ${wrong}, and the database had ${expectedRows[wrong]}. Nothing was kept.`,
      )
    copy.prepare("insert or replace into meta (name, value) values (?, '1')").run(IS_COPY)
    const integrity = copy.pragma('integrity_check(1)', { simple: true })
    if (integrity !== 'ok')
      throw new StartupError(`the copy is damaged, as the database is: ${integrity}. Nothing was kept.`)
  } finally {
    copy.close()
  }
}

function syncToDisk(path: string): void {
  const descriptor = openSync(path, 'r')
  fsyncSync(descriptor)
  closeSync(descriptor)
}

/** A link or a copy fails if the target exists; a rename would replace it. */
function publish(partial: string, target: string): void {
  try {
    linkSync(partial, target)
  } catch (error) {
    // File systems without links, such as FAT.
    if (!['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'].includes((error as NodeJS.ErrnoException).code ?? ''))
      throw error
    copyFileSync(partial, target, constants.COPYFILE_EXCL)
    syncToDisk(target)
  }
}

function withTargetErrors(target: string, write: () => void): void {
  try {
    write()
  } catch (error) {
    throw toTargetError(error, target)
  }
}

function toTargetError(error: unknown, target: string): unknown {
  if (error instanceof StartupError) return error
  const { code } = error as NodeJS.ErrnoException
  if (code === 'EEXIST') return alreadyExists(target)
  if (code === undefined) return error
  if (code.startsWith('SQLITE_CORRUPT'))
    return new StartupError(`the copy is damaged, as the database is (${code}). Nothing was kept.`)
  return new StartupError(`${target}: the copy can't be written (${code}). Nothing was kept.`)
}

const alreadyExists = (target: string) =>
  new StartupError(`${target} exists already. A backup replaces no file: name another.`)
