/**
 * `node test/store/sqlite/upgrade/time-upgrade.ts`: how long the upgrade of a large database takes, in some ten seconds.
 * The database is of the version 0006_tagged and has 100,000 predictions with 400,000 events.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import Database from 'better-sqlite3'
import { readMigrationFiles } from '../../../../src/store/sqlite/drizzle.ts'
import { openSqliteStore } from '../../../../src/store/sqlite/sqlite-store.ts'
import {
  createOlderDatabase,
  EVENTS_PER_PREDICTION,
  MIGRATIONS,
  MIGRATIONS_BEFORE_NAMES,
} from './older-database.ts'

const PREDICTIONS = 100_000
const IN_FLIGHT = 100
const STATEMENTS_SHOWN = 9
/** Characters of a statement. */
const SQL_SHOWN = 80
const START = resolve(import.meta.dirname, '../../../../src/start.js')
const ACCOUNT = { WAVESPEED_API_KEY: 'time-upgrade', WAVESPEED_BASE_URL: 'http://127.0.0.1:9' }

const folder = mkdtempSync(join(tmpdir(), 'rushes-upgrade-'))
try {
  const older = createOlderDatabase(folder, PREDICTIONS, IN_FLIGHT)
  const copyTo = (name: string): string => {
    const copy = join(folder, name)
    copyFileSync(older, copy)
    return copy
  }
  const upgraded = copyTo('upgraded.db')
  const upgradeMs = await timeOpen(upgraded)
  const openMs = await timeOpen(upgraded)
  const started = copyTo('started.db')
  const startWithUpgradeMs = await timeStart(started)
  const startMs = await timeStart(started)
  const statements = timeStatements(copyTo('statements.db'))

  const share = (upgradeMs / startWithUpgradeMs) * 100
  print('database', `${count(PREDICTIONS)} predictions, ${count(PREDICTIONS * EVENTS_PER_PREDICTION)} events`)
  print('file', `${megabytes(older)} before, ${megabytes(upgraded)} after`)
  print('upgrade', `${ms(upgradeMs)} to open the store; ${ms(openMs)} to open it again`)
  print('start', `${ms(startWithUpgradeMs)} until ready, of which the upgrade is ${share.toFixed(0)} %`)
  print('next start', `${ms(startMs)} until ready`)
  const sum = statements.reduce((total, each) => total + each.ms, 0)
  print('statements', `${statements.length} in ${ms(sum)}, the slowest:`)
  for (const each of statements.toSorted((a, b) => b.ms - a.ms).slice(0, STATEMENTS_SHOWN))
    print('', `${ms(each.ms).padStart(9)}  ${each.sql}`)
} finally {
  rmSync(folder, { recursive: true })
}

async function timeOpen(file: string): Promise<number> {
  const startedAt = performance.now()
  const store = openSqliteStore(file, () => {}, { thisProcess: { gatewayStartedAt: Date.now() } })
  const duration = performance.now() - startedAt
  await store.close()
  return duration
}

/** The time from the start of a gateway's process until it listens. */
async function timeStart(file: string): Promise<number> {
  const startedAt = performance.now()
  const gateway = spawn(process.execPath, [START], {
    env: { PORT: '0', DATABASE_URL: `file:${file}`, LOG_LEVEL: 'silent', ...ACCOUNT },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const ended = once(gateway, 'exit')
  try {
    for await (const line of createInterface(gateway.stdout))
      if (line.includes('Rushes is listening')) return performance.now() - startedAt
    throw new Error('the gateway did not start')
  } finally {
    gateway.kill('SIGTERM')
    await ended
  }
}

/** The time of each statement of the newest migrations, and of the commit. */
function timeStatements(file: string): { sql: string; ms: number }[] {
  const db = new Database(file)
  db.pragma('synchronous = FULL')
  const statements = readMigrationFiles({ migrationsFolder: MIGRATIONS })
    .slice(MIGRATIONS_BEFORE_NAMES)
    .flatMap(({ sql }) => sql)
  try {
    return ['begin', ...statements, 'commit'].map(statement => {
      const startedAt = performance.now()
      db.exec(statement)
      const duration = performance.now() - startedAt
      return {
        sql: statement
          .replaceAll(/--.*\n/g, '')
          .trim()
          .slice(0, SQL_SHOWN),
        ms: duration,
      }
    })
  } finally {
    db.close()
  }
}

function print(label: string, text: string): void {
  console.log(`${label.padEnd(11)}${text}`)
}

function count(value: number): string {
  return value.toLocaleString('en')
}

function ms(value: number): string {
  return `${value.toFixed(1)} ms`
}

function megabytes(file: string): string {
  return `${(statSync(file).size / 1e6).toFixed(1)} MB`
}
