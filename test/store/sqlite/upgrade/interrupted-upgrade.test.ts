/**
 * Upgrades that fail, and a gateway of an earlier version on an upgraded database. Each gateway is a process of its own
 * that runs a copy of this program with other migrations.
 */
import { copyFileSync, cpSync, existsSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { describe, expect, test } from 'vitest'
import { openSqliteStore } from '../../../../src/store/sqlite/sqlite-store.ts'
import { queryDatabaseFile } from '../../../support/database-file.ts'
import { emptyFolder, type Run, run } from '../../../support/process.ts'
import { until } from '../../../support/until.ts'
import {
  createOlderDatabase,
  cutMigrations,
  EVENTS_PER_PREDICTION,
  MIGRATIONS_BEFORE_NAMES,
} from './older-database.ts'

const PREDICTIONS = 2000
const BREAKPOINT = '--> statement-breakpoint\n'
/** SQLite writes changed pages to the WAL before the commit if they do not fit into its cache. */
const SMALL_CACHE = 'PRAGMA cache_size = 10;'
/** More bytes than the upgrade itself writes. Once they are in the WAL, all other statements are done. */
const MARKER_BYTES = 30_000_000
const MARKER = `INSERT INTO meta VALUES ('marker', zeroblob(${MARKER_BYTES}));`
const ENDLESS = `
  INSERT INTO meta SELECT 'count', count(*) FROM (
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n);`
const INVALID = 'INSERT INTO meta SELECT NULL, NULL;'

/** Starts a copy of the program. `change` gets the folder of its migrations. */
function startCopy(folder: string, file: string, change: (migrations: string) => void): Run {
  cpSync('src', join(folder, 'src'), { recursive: true })
  copyFileSync('package.json', join(folder, 'package.json'))
  symlinkSync(resolve('node_modules'), join(folder, 'node_modules'))
  change(join(folder, 'src/store/sqlite/migrations'))
  return run(join(folder, 'src/start.js'), folder, {
    DATABASE_URL: `file:${file}`,
    PORT: '0',
    WAVESPEED_API_KEY: 'test',
    WAVESPEED_BASE_URL: 'http://127.0.0.1:9',
    // The copy shares node_modules with this program, and must not write to the cache in it.
    NODE_DISABLE_COMPILE_CACHE: '1',
  })
}

/** Adds those statements behind all others of the newest migration. */
const endUpgradeWith =
  (...added: string[]) =>
  (migrations: string) => {
    const path = join(migrations, '0008_version.sql')
    writeFileSync(path, [SMALL_CACHE, readFileSync(path, 'utf8'), ...added].join(BREAKPOINT))
  }

/** The whole content of a database. */
const readAll = (file: string) =>
  queryDatabaseFile(file, db => {
    const schema = db.prepare('select type, name, sql from sqlite_master order by name').all() as {
      type: string
      name: string
    }[]
    const tables = schema.filter(({ type }) => type === 'table').map(({ name }) => name)
    return {
      schema,
      rows: tables.map(name => [name, db.prepare(`select * from "${name}"`).all()]),
      integrity: db.pragma('integrity_check', { simple: true }),
    }
  })

/** Opens the database as today's gateway does at its start. */
async function expectUpgrade(file: string): Promise<void> {
  const store = openSqliteStore(file, () => {}, { thisProcess: { gatewayStartedAt: Date.now() } })
  expect(await store.countByState()).toMatchObject({ queued: 0, inFlight: PREDICTIONS, expired: 0 })
  await store.close()
  const counts = `select (select count(*) from __drizzle_migrations) as migrations,
    (select count(*) from prediction_tags) as tags, (select count(*) from events where state ->> 'version' >= 1) as events`
  queryDatabaseFile(file, db => {
    expect(db.prepare(counts).get()).toEqual({
      migrations: MIGRATIONS_BEFORE_NAMES + 4,
      tags: PREDICTIONS,
      events: PREDICTIONS * EVENTS_PER_PREDICTION,
    })
    expect(db.pragma('integrity_check', { simple: true })).toBe('ok')
  })
}

describe('an upgrade that does not commit leaves the earlier database as it was, and the next start upgrades it', () => {
  test('after a SIGKILL behind its last statement', async () => {
    await using folder = await emptyFolder()
    const file = createOlderDatabase(folder.path, PREDICTIONS, PREDICTIONS)
    const before = readAll(file)
    await using gateway = startCopy(folder.path, file, endUpgradeWith(MARKER, ENDLESS))
    await until(() => existsSync(`${file}-wal`) && statSync(`${file}-wal`).size > MARKER_BYTES, 15_000)
    gateway.child.kill('SIGKILL')
    expect(await gateway.untilEnded()).toMatchObject({ signal: 'SIGKILL' })
    expect(readAll(file)).toEqual(before)
    await expectUpgrade(file)
  })

  test('after a statement that fails', async () => {
    await using folder = await emptyFolder()
    const file = createOlderDatabase(folder.path, PREDICTIONS, PREDICTIONS)
    const before = readAll(file)
    await using gateway = startCopy(folder.path, file, endUpgradeWith(MARKER, INVALID))
    expect(await gateway.untilEnded()).toMatchObject({ code: 1 })
    expect(gateway.err).toContain('SQLITE_CONSTRAINT_NOTNULL')
    expect(readAll(file)).toEqual(before)
    await expectUpgrade(file)
  })
})

test('a gateway of the earlier version refuses an upgraded database, and leaves it as it is', async () => {
  await using folder = await emptyFolder()
  const file = createOlderDatabase(folder.path, PREDICTIONS, PREDICTIONS)
  await openSqliteStore(file, () => {}).close()
  const before = readFileSync(file)
  await using gateway = startCopy(folder.path, file, migrations =>
    cutMigrations(migrations, MIGRATIONS_BEFORE_NAMES),
  )
  expect(await gateway.untilEnded()).toMatchObject({ code: 1 })
  expect(gateway.err).toContain('was written by a newer Rushes than this one')
  expect(readFileSync(file).equals(before)).toBe(true)
})
