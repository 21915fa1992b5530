/**
 * Which files a database consists of on disk, who may read them, and whether they are still the ones that were opened.
 * Invariant: no file is opened here while SQLite has it open. Closing any descriptor of a file releases all locks that
 * the process has on it (POSIX).
 */
import { chmodSync, closeSync, openSync, readFileSync, realpathSync, statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { StartupError } from '../../domain/errors.ts'

/** Only the owner may read or write. The database has the key that signs access tokens. */
const PRIVATE_MODE = 0o600

/** The lock file, and the files in which SQLite keeps what is not yet in the database. Symbolic links are resolved. */
const filesBeside = (file: string): string[] => {
  const path = realpathSync(file)
  return [`${path}-wal`, `${path}-shm`, `${path}.lock`]
}

/** Beside the database, found under any name that a symbolic link gives the database. */
export const lockFileOf = (file: string): string => `${realpathSync(file)}.lock`

/** Creates an empty file that only its owner can read. An existing file stays as it is. SQLite reports what fails. */
export function createPrivateFile(file: string): void {
  try {
    closeSync(openSync(file, 'wx', PRIVATE_MODE))
  } catch {}
}

/** Takes the database's files away from the group and from others. A file of another owner stays as it is. */
export function makePrivate(file: string): void {
  const files = [file, ...filesBeside(file)]
  for (const path of [...files, ...files.map(path => `${path}-journal`)]) {
    const mode = statSync(path, { throwIfNoEntry: false })?.mode
    if (mode === undefined || (mode & 0o077) === 0) continue
    try {
      chmodSync(path, mode & PRIVATE_MODE)
    } catch {
      // Of another owner, or on a file system without modes.
    }
  }
}

/**
 * SQLite's journal and our lock are found by the database's name. Under a second name two gateways would not see each
 * other, and pay twice for each job.
 * @throws StartupError if the file has a second name: a hard link, or a mount of the file alone
 */
export function assertSingleName(file: string): void {
  const stats = statSync(file, { throwIfNoEntry: false })
  if (stats === undefined || !stats.isFile()) return
  if (stats.nlink > 1)
    throw new StartupError(
      `DATABASE_URL: ${file} has ${stats.nlink} names (hard links), and a gateway on another name would pay for its jobs again. Remove the others (find them with "find ${dirname(file)} -samefile ${file}"), or copy the file and use the copy.`,
    )
  if (isMountPoint(realpathSync(file), readMounts()))
    throw new StartupError(
      `DATABASE_URL: ${file} is mounted as a single file, without its journal and its lock, and a gateway on the original would pay for its jobs again. Mount its folder instead.`,
    )
}

/** Empty where the system has no such list. */
function readMounts(): string {
  try {
    return readFileSync('/proc/self/mountinfo', 'utf8')
  } catch {
    return ''
  }
}

/**
 * @param path absolute, without symbolic links
 * @param mounts text in the format of /proc/self/mountinfo: the fifth field is the mount point, with blanks and the like
 *   as octal escapes
 */
export const isMountPoint = (path: string, mounts: string): boolean =>
  mounts.split('\n').some(line => {
    const escaped = line.split(' ')[4] ?? ''
    const point = escaped.replace(/\\([0-7]{3})/g, (_, octal) =>
      String.fromCharCode(Number.parseInt(octal, 8)),
    )
    return Buffer.from(point, 'latin1').toString() === path || point === path
  })

/**
 * Call it when SQLite has opened the database.
 * @returns a function that returns null while every path leads to the file that was opened, and otherwise the first path
 *   that does not. Costs about 10 µs.
 */
export function watchFiles(file: string): () => { path: string; isMissing: boolean } | null {
  // The configured path, not the resolved one: a link that leads elsewhere loses the data at the next start.
  const watched = [resolve(file), ...filesBeside(file)]
    .map(path => ({ path, identity: identityOf(path) }))
    .filter(({ identity }) => identity !== null)

  return () => {
    for (const { path, identity } of watched) {
      const present = identityOf(path)
      if (present !== identity) return { path, isMissing: present === null }
    }
    return null
  }
}

/** Null if there is no such file, or if it can't be reached. */
function identityOf(path: string): string | null {
  try {
    const stats = statSync(path, { bigint: true, throwIfNoEntry: false })
    return stats === undefined ? null : `${stats.dev}:${stats.ino}`
  } catch {
    return null
  }
}
