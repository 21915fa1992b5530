import { execFileSync } from 'node:child_process'
import { chmodSync, linkSync, mkdirSync, readdirSync, realpathSync, statSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { expect, test } from 'vitest'
import { StartupError } from '../../../src/domain/errors.ts'
import { isMountPoint } from '../../../src/store/sqlite/file-identity.ts'
import { openSqliteStore } from '../../../src/store/sqlite/sqlite-store.ts'
import { emptyFolder } from '../../support/process.ts'
import { newApp } from '../../support/store.ts'

const openAsGateway = (file: string) =>
  openSqliteStore(file, () => {}, { thisProcess: { gatewayStartedAt: Date.now() } })

test('a file with a second name is refused under both, and accepted once the second is gone', async () => {
  await using folder = await emptyFolder()
  const names = [join(folder.path, 'a.db'), join(folder.path, 'b.db')] as const
  const first = openAsGateway(names[0])
  linkSync(...names)
  expect(() => openAsGateway(names[1])).toThrow(/b\.db has 2 names \(hard links\), and a gateway on another/)
  // A command would write to another journal.
  expect(() => openSqliteStore(names[1], () => {})).toThrow(StartupError)
  await first.close()
  expect(() => openAsGateway(names[0])).toThrow(/a\.db has 2 names/)
  execFileSync('rm', [names[1]])
  await openAsGateway(names[0]).close()
})

test('through a symbolic link, of the file or of its folder, a second gateway finds the lock of the first', async () => {
  await using folder = await emptyFolder()
  const real = join(folder.path, 'real')
  mkdirSync(real)
  const first = openAsGateway(join(real, 'a.db'))
  symlinkSync(join(real, 'a.db'), join(folder.path, 'b.db'))
  symlinkSync(real, join(folder.path, 'other'))
  for (const path of ['b.db', 'other/a.db', 'real/../real/a.db'])
    expect(() => openAsGateway(join(folder.path, path))).toThrow(/another gateway runs on/)
  await first.close()
})

test('a file that is mounted alone is recognised, whatever its name; a file in a mounted folder is not', () => {
  const mounts = [
    '22 1 0:20 / / rw,relatime - overlay overlay rw',
    '35 22 0:31 /volumes/x.db /app/rushes.db rw,relatime - ext4 /dev/vda rw',
    '36 22 0:31 /volumes/x.db /app/my\\040data/caf\\303\\251.db rw,relatime - ext4 /dev/vda rw',
    '37 22 0:31 /volumes /app/data rw,relatime - ext4 /dev/vda rw',
    '',
  ].join('\n')
  const found = ['/app/rushes.db', '/app/my data/café.db', '/app/data/rushes.db', '/rushes.db']
  expect(found.map(path => isMountPoint(path, mounts))).toEqual([true, true, false, false])
  expect(isMountPoint('/app/rushes.db', '')).toBe(false)
})

/** Whether this user may mount, in a namespace of its own. */
const mayMount = (() => {
  try {
    execFileSync('unshare', ['-rm', 'true'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
})()

test.skipIf(!mayMount)('a file that is mounted alone is refused', async () => {
  await using folder = await emptyFolder()
  await openSqliteStore(join(folder.path, 'a.db'), () => {}).close()
  const open = `
    import { openStore } from './src/store/open-store.ts'
    await openStore('file:${folder.path}/b.db', () => {}).catch(error => console.log(error.message))`
  const mountAndOpen = `touch b.db && mount --bind a.db b.db && cd "$0" && exec "$@"`
  const args = [
    '-rm',
    'sh',
    '-c',
    mountAndOpen,
    process.cwd(),
    process.execPath,
    '--input-type=module',
    '-e',
    open,
  ]
  const printed = execFileSync('unshare', args, { cwd: folder.path, encoding: 'utf8' })
  expect(printed).toMatch(/b\.db is mounted as a single file, .* Mount its folder instead\.$/m)
})

test('every file of a database can be read by its owner alone, also one that others could read before', async () => {
  await using folder = await emptyFolder()
  const path = realpathSync(folder.path)
  const file = join(path, 'rushes.db')
  const modes = () =>
    Object.fromEntries(readdirSync(path).map(name => [name, statSync(join(path, name)).mode & 0o777]))
  for (const attempt of ['new', 'again']) {
    const store = openAsGateway(file)
    await newApp(store)
    const found = modes()
    expect(Object.keys(found), attempt).toEqual(
      expect.arrayContaining(['rushes.db', 'rushes.db-shm', 'rushes.db-wal', 'rushes.db.lock']),
    )
    expect(new Set(Object.values(found)), attempt).toEqual(new Set([0o600]))
    await store.close()
    // A writer that was killed leaves its journal behind.
    const killed = new Database(file)
    killed.exec("insert into meta (name, value) values ('a', 'b') on conflict do nothing")
    for (const name of readdirSync(path)) chmodSync(join(path, name), 0o644)
    const reopened = openAsGateway(file)
    expect(new Set(Object.values(modes())), attempt).toEqual(new Set([0o600]))
    await reopened.close()
    killed.close()
  }
})
