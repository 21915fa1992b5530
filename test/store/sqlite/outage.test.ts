import { renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import Database from 'better-sqlite3'
import { describe, expect, test, vi } from 'vitest'
import { DatabaseUnavailable } from '../../../src/domain/errors.ts'
import { openSqliteStore } from '../../../src/store/sqlite/sqlite-store.ts'
import { queryDatabaseFile } from '../../support/database-file.ts'
import { emptyFolder } from '../../support/process.ts'
import { addPrediction, newApp, T, times } from '../../support/store.ts'
import { until } from '../../support/until.ts'
import { recordStatements } from './record-statements.ts'

/** The store of a gateway, and another process's connection to its file. */
async function openOnDisk() {
  const folder = await emptyFolder()
  const file = join(folder.path, 'rushes.db')
  const pragma = vi.spyOn(Database.prototype as Database.Database, 'pragma')
  const store = openSqliteStore(file, () => {}, { thisProcess: { gatewayStartedAt: T } })
  const client = pragma.mock.contexts[0] as Database.Database
  pragma.mockRestore()
  const other = new Database(file)
  return {
    file,
    store,
    client,
    other,
    app: await newApp(store),
    claim: () =>
      store.claimSubmits({
        now: T,
        leaseUntil: T + 1,
        limit: 9,
        upstreamConcurrency: null,
        upstreamSubmitsPerMinute: null,
        imageVerifiedAfter: 0,
      }),
    countOnDisk: () =>
      queryDatabaseFile(file, db => db.prepare('select count(*) from predictions').pluck().get()),
    async [Symbol.asyncDispose]() {
      other.close()
      await store.close()
      await folder[Symbol.asyncDispose]()
    },
  }
}

const faultOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'none',
    error => (error instanceof DatabaseUnavailable ? error.fault : error),
  )

describe('while another process writes', () => {
  test('submits and uploads wait, the event loop does not, and both succeed when it is done', async () => {
    await using f = await openOnDisk()
    f.other.exec('begin immediate')
    const image = {
      appId: f.app,
      hash: 'h',
      contentType: 'image/png',
      width: 1,
      height: 1,
      bytes: 3,
    } as const
    const writes = Promise.all([
      ...times(3, () => addPrediction(f.store, f.app)),
      f.store.saveUpload({ image, restrictionKey: '', data: Buffer.from('abc') }, 1e9, T),
    ])
    let turns = 0
    const start = performance.now()
    while (performance.now() < start + 300) {
      await delay(5)
      turns++
    }
    // SQLite's own wait would let two or three turns pass.
    expect(turns).toBeGreaterThan(15)
    f.other.exec('rollback')
    await writes
    expect(f.countOnDisk()).toBe(3)
  })

  test('once one worker has met the lock, the others do not try before the retry', async () => {
    await using f = await openOnDisk()
    f.other.exec('begin immediate')
    const claimPolls = () => f.store.claimPolls({ now: T, leaseUntil: T + 1, limit: 9 })
    await expect(claimPolls()).rejects.toThrow(/locked/)
    const statements = await recordStatements(async () => {
      const faults = await Promise.all(times(20, () => faultOf(claimPolls())))
      expect(faults).toEqual(times(20, () => 'locked'))
    })
    expect(statements).toEqual([])
    f.other.exec('rollback')
    await until(() => claimPolls().then(Array.isArray, () => false))
  })

  test('ping names the lock after half a second, and its end at once', async () => {
    await using f = await openOnDisk()
    f.other.exec('begin immediate')
    expect(await f.store.ping()).toBe('locked')
    f.other.exec('rollback')
    await until(async () => (await f.store.ping()) === 'ok')
  })

  test('ping does not name a lock of milliseconds', async () => {
    await using f = await openOnDisk()
    f.other.exec('begin immediate')
    const answer = f.store.ping()
    f.other.exec('rollback')
    expect(await answer).toBe('ok')
  })
})

test('on a full disk ping says so before a submit does, and recovers when there is room again', async () => {
  await using f = await openOnDisk()
  const pages = Number(f.client.pragma('page_count', { simple: true }))
  f.client.pragma(`max_page_count = ${pages}`)
  expect(await f.store.ping()).toBe('full')
  f.client.pragma('max_page_count = 1000000')
  await until(async () => (await f.store.ping()) === 'ok')
  await addPrediction(f.store, f.app)
})

test('ping writes at most once a second', async () => {
  await using f = await openOnDisk()
  const probes = () => f.other.prepare("select value from meta where name = 'write_probe'").pluck().get()
  await Promise.all(times(5, () => f.store.ping()))
  const first = probes()
  expect(first).toMatch(/^1 /)
  for (let i = 0; i < 20; i++) await f.store.ping()
  expect(probes()).toBe(first)
})

describe('when files of the database are deleted or replaced under a gateway', () => {
  const remove = (file: string) => rmSync(file)
  const replace = (file: string) => {
    writeFileSync(`${file}.new`, '')
    renameSync(`${file}.new`, file)
  }
  test.each([
    ['database deleted', '', remove],
    ['database replaced', '', replace],
    ['WAL deleted', '-wal', remove],
    ['WAL replaced', '-wal', replace],
    ['shared memory deleted', '-shm', remove],
    ['lock deleted', '.lock', remove],
  ])('%s: nothing more is sent, and then nothing accepted', async (_, suffix, change) => {
    await using f = await openOnDisk()
    await addPrediction(f.store, f.app)
    expect(await f.store.ping()).toBe('ok')
    change(f.file + suffix)
    expect(await faultOf(f.claim())).toBe('replaced')
    expect(await f.store.ping()).toBe('replaced')
    expect(await faultOf(addPrediction(f.store, f.app))).toBe('replaced')
  })

  test('it is noticed without a request', async () => {
    await using f = await openOnDisk()
    rmSync(f.file)
    await until(async () => (await faultOf(addPrediction(f.store, f.app))) === 'replaced')
  })

  test('the sentence names the file and says what to do', async () => {
    await using f = await openOnDisk()
    rmSync(`${f.file}-wal`)
    await expect(f.claim()).rejects.toThrow(
      /rushes\.db-wal was deleted while the gateway runs: nothing more is accepted or sent\. Put the file back, or restart/,
    )
  })

  test('what only the deleted WAL had is copied to the database', async () => {
    await using f = await openOnDisk()
    for (let i = 0; i < 3; i++) await addPrediction(f.store, f.app)
    rmSync(`${f.file}-wal`)
    expect(await faultOf(f.claim())).toBe('replaced')
    rmSync(`${f.file}-shm`)
    expect(f.countOnDisk()).toBe(3)
  })

  test('a file that comes back is used again', async () => {
    await using f = await openOnDisk()
    const { id } = await addPrediction(f.store, f.app)
    renameSync(f.file, `${f.file}.away`)
    expect(await f.store.ping()).toBe('replaced')
    const cancel = () => f.store.change(id, () => ({ status: 'CANCELED' }), T)
    expect(await faultOf(cancel())).toBe('replaced')
    renameSync(`${f.file}.away`, f.file)
    expect(await f.store.ping()).toBe('ok')
    expect(await cancel()).toMatchObject({ status: 'CANCELED' })
  })
})
