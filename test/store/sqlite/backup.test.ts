import { chmodSync, openSync, readdirSync, readFileSync, statSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { runCommand } from '../../../src/cli/app/command.ts'
import { StartupError } from '../../../src/domain/errors.ts'
import { openStore } from '../../../src/store/open-store.ts'
import { queryDatabaseFile } from '../../support/database-file.ts'
import { emptyFolder, run } from '../../support/process.ts'
import { addPredictions, newApp, T } from '../../support/store.ts'

/** A database with rows in a folder, which a gateway has open. */
async function fixture() {
  const folder = await emptyFolder()
  const file = join(folder.path, 'rushes.db')
  const env = { DATABASE_URL: `file:${file}` }
  const store = await openStore(env.DATABASE_URL, () => {}, { thisProcess: { gatewayStartedAt: T } })
  const app = await newApp(store)
  await addPredictions(store, app, 200)
  return {
    folder: folder.path,
    file,
    env,
    store,
    app,
    target: join(folder.path, 'copy.db'),
    command: (...args: string[]) => runCommand(args, env, T, 50),
    async [Symbol.asyncDispose]() {
      await store.close()
      await folder[Symbol.asyncDispose]()
    },
  }
}

const failure = async (work: Promise<unknown>): Promise<string> => {
  const error = await work.catch((thrown: unknown) => thrown)
  expect(error).toBeInstanceOf(StartupError)
  return (error as StartupError).message
}
const copiesIn = (folder: string) => readdirSync(folder).filter(name => name.startsWith('copy'))

test('a backup beside a gateway that commits without pause ends, and is one moment of the database', async () => {
  await using f = await fixture()
  const { head: headBefore } = await f.store.eventRange()
  await using command = run('cli/app/main.ts', f.folder, f.env, ['backup', f.target, '--json'])
  let hasEnded = false
  const ended = command.untilEnded().finally(() => {
    hasEnded = true
  })
  while (!hasEnded) await addPredictions(f.store, f.app, 3)
  expect((await ended).code, command.err).toBe(0)

  const { rows, bytes } = JSON.parse(command.out)
  expect(bytes).toBe(statSync(f.target).size)
  expect(rows.predictions).toBeGreaterThan(headBefore)
  expect(rows.predictions).toBeLessThan((await f.store.eventRange()).head)
  const facts = queryDatabaseFile(f.target, db =>
    db
      .prepare(
        'select (select count(*) from predictions) as predictions, max(seq) as head, count(*) as events from events',
      )
      .get(),
  )
  expect(facts).toEqual({ predictions: rows.predictions, head: rows.predictions, events: rows.predictions })
  expect(statSync(f.target).mode & 0o777).toBe(0o600)
  expect(copiesIn(f.folder)).toEqual(['copy.db'])
})

test('a backup is a whole database, which a gateway opens', async () => {
  await using f = await fixture()
  expect(await f.command('backup', f.target)).toContain('1 apps, 200 predictions, 200 events')
  const copy = await openStore(`file:${f.target}`, () => {}, { thisProcess: { gatewayStartedAt: T } })
  expect(await copy.countByState()).toMatchObject({ queued: 200 })
  await copy.close()
})

test('a backup replaces no file, and leaves none behind when it fails', async () => {
  await using f = await fixture()
  writeFileSync(f.target, 'mine')
  expect(await failure(f.command('backup', f.target))).toBe(
    `${f.target} exists already. A backup replaces no file: name another.`,
  )
  expect(readFileSync(f.target, 'utf8')).toBe('mine')
  expect(await failure(f.command('backup', f.file))).toContain('exists already')
  expect(await failure(f.command('backup', join(f.folder, 'nowhere/copy.db')))).toContain('does not exist')
  expect(copiesIn(f.folder)).toEqual(['copy.db'])
})

test.skipIf(process.getuid?.() === 0)('a folder that can not be written is named in a sentence', async () => {
  await using f = await fixture()
  chmodSync(f.folder, 0o500)
  expect(await failure(f.command('backup', f.target))).toContain("the copy can't be written (EACCES)")
  chmodSync(f.folder, 0o700)
})

test('a backup of a damaged database is refused, and no copy is kept', async () => {
  await using f = await fixture()
  await f.store.close()
  const indexPage = queryDatabaseFile(f.file, db => ({
    page: db.prepare("select rootpage from sqlite_master where name = 'predictions_by_app'").pluck().get(),
    bytes: db.pragma('page_size', { simple: true }),
  })) as { page: number; bytes: number }
  const descriptor = openSync(f.file, 'r+')
  writeSync(descriptor, Buffer.alloc(64, 7), 0, 64, (indexPage.page - 1) * indexPage.bytes + 8)
  expect(await failure(f.command('backup', f.target))).toMatch(/^the copy is damaged, as the database is/)
  expect(copiesIn(f.folder)).toEqual([])
})

test('the database of another program is not copied', async () => {
  await using f = await fixture()
  const other = join(f.folder, 'other.db')
  const { default: Database } = await import('better-sqlite3')
  new Database(other).exec('create table notes (text)').close()
  expect(await failure(runCommand(['backup', f.target], { DATABASE_URL: `file:${other}` }, T))).toBe(
    `DATABASE_URL: ${other} is not a database of this gateway.`,
  )
  expect(copiesIn(f.folder)).toEqual([])
})
