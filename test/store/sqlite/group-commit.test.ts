import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join, resolve } from 'node:path'
import { setImmediate as immediate } from 'node:timers/promises'
import Database from 'better-sqlite3'
import { expect, test, vi } from 'vitest'
import { fullScope } from '../../../src/domain/access-scope.ts'
import { createAppStore } from '../../../src/store/sqlite/apps.ts'
import { openDatabase } from '../../../src/store/sqlite/connection.ts'
import { createGroupCommit } from '../../../src/store/sqlite/group-commit.ts'
import { createPredictionStore } from '../../../src/store/sqlite/predictions/write.ts'
import { createSharedParts } from '../../../src/store/sqlite/shared-parts.ts'
import { openSqliteStore } from '../../../src/store/sqlite/sqlite-store.ts'
import { emptyFolder } from '../../support/process.ts'
import { addPrediction, draft, eventsOf, newApp, pageRequest, T, times } from '../../support/store.ts'
import { recordStatements, Statement } from './record-statements.ts'

/** A store on a file, and another connection to it. */
async function openOnDisk() {
  const folder = await emptyFolder()
  const file = join(folder.path, 'rushes.db')
  let notifications = 0
  const store = openSqliteStore(file, () => void notifications++)
  const otherConnection = new Database(file)
  const idsQuery = otherConnection.prepare<[], string>('select id from predictions').pluck()
  return {
    file,
    store,
    otherConnection,
    app: await newApp(store),
    /** Ids of the predictions that the other connection can see. */
    ids: () => idsQuery.all(),
    get notifications() {
      return notifications
    },
    async [Symbol.asyncDispose]() {
      otherConnection.close()
      await store.close()
      await folder[Symbol.asyncDispose]()
    },
  }
}

/** Returns a submit function. SQLite fails if the metadata is "fault", once the row is written. */
function createFaulty(
  { otherConnection, store, app }: Awaited<ReturnType<typeof openOnDisk>>,
  action: 'abort' | 'rollback',
) {
  otherConnection.exec(`
    create trigger faulty before insert on events
    when (select metadata from predictions where id = new.prediction_id) = '"fault"'
    begin select raise(${action}, 'a fault'); end`)
  return (metadata: unknown) => store.create(draft(app, { metadata }), null, T)
}

const commits = (statements: string[]) => statements.filter(text => text === 'COMMIT').length

test('submits of one event-loop turn share one commit, and each resolves after it', async () => {
  await using f = await openOnDisk()
  const onDiskWhenAnswered: boolean[] = []
  const statements = await recordStatements(() =>
    Promise.all(
      times(20, async i => {
        const { id } = await addPrediction(f.store, f.app, T + i)
        onDiskWhenAnswered.push(f.ids().includes(id))
      }),
    ),
  )
  expect(commits(statements)).toBe(1)
  expect(onDiskWhenAnswered).toEqual(times(20, () => true))
})

test('cancellations and other changes of a prediction share it', async () => {
  await using f = await openOnDisk()
  const { id } = await addPrediction(f.store, f.app)
  const statements = await recordStatements(() =>
    Promise.all([
      addPrediction(f.store, f.app),
      f.store.change(id, () => ({ status: 'CANCELED' }), T),
      addPrediction(f.store, f.app),
    ]),
  )
  expect(commits(statements)).toBe(1)
  expect(await eventsOf(f.store, f.app)).toMatchObject([{}, {}, { previousStatus: 'QUEUED' }, {}])
})

test('the next turn has a commit of its own', async () => {
  await using f = await openOnDisk()
  const statements = await recordStatements(async () => {
    await addPrediction(f.store, f.app)
    await addPrediction(f.store, f.app)
  })
  expect(commits(statements)).toBe(2)
})

test('a write that throws is rolled back alone and rejected alone', async () => {
  await using f = await openOnDisk()
  const of = createFaulty(f, 'abort')
  const answers = await Promise.allSettled([of(1), of('fault'), of(2), of('fault'), of(3)])
  expect(answers.map(({ status }) => status)).toEqual([
    'fulfilled',
    'rejected',
    'fulfilled',
    'rejected',
    'fulfilled',
  ])
  const { predictions } = await f.store.list(fullScope(f.app), pageRequest())
  expect(predictions.map(({ metadata }) => metadata).sort()).toEqual([1, 2, 3])
  expect((await f.store.usage(fullScope(f.app), T)).spent).toBe(3 * draft(f.app).cost)
})

test('if another process holds the file for seconds, every write of the group is rejected, and nothing is written', async () => {
  await using f = await openOnDisk()
  f.otherConnection.exec('begin immediate')
  const answers = await Promise.allSettled(times(3, () => addPrediction(f.store, f.app)))
  expect(answers.map(answer => answer.status === 'rejected' && answer.reason.fault)).toEqual(
    times(3, () => 'locked'),
  )
  f.otherConnection.exec('rollback')
  expect([f.ids(), f.notifications]).toEqual([[], 0])
  await addPrediction(f.store, f.app)
  expect(f.ids()).toHaveLength(1)
})

test('if the commit itself fails, every write is rejected and not repeated: it may be on disk nevertheless', async () => {
  await using f = await openOnDisk()
  const { run } = Statement
  let tries = 0
  const spy = vi.spyOn(Statement, 'run').mockImplementation(function (this: Database.Statement, ...values) {
    if (this.source !== 'COMMIT') return run.apply(this, values)
    tries++
    throw new Error('no room')
  })
  const answers = await Promise.allSettled(times(3, () => addPrediction(f.store, f.app))).finally(() =>
    spy.mockRestore(),
  )
  expect(tries).toBe(1)
  expect(answers.map(answer => answer.status === 'rejected' && answer.reason.message)).toEqual(
    times(3, () => 'no room'),
  )
  expect([f.ids(), f.notifications]).toEqual([[], 0])
  await addPrediction(f.store, f.app)
  expect(f.ids()).toHaveLength(1)
})

test('if SQLite rolls back the whole transaction, every write is rejected, and later ones write nothing outside of it', async () => {
  await using f = await openOnDisk()
  const of = createFaulty(f, 'rollback')
  const answers = await Promise.allSettled([of(1), of('fault'), of(2)])
  expect(answers.map(({ status }) => status)).toEqual(times(3, () => 'rejected'))
  expect([f.ids(), f.notifications]).toEqual([[], 0])
})

test('on a full disk every resolved write is there completely, and no other is', async () => {
  await using folder = await emptyFolder()
  const { db, close } = openDatabase(join(folder.path, 'full.db'), { exclusive: false })
  const { $client: client } = db
  const group = createGroupCommit(db, () => {})
  const store = createPredictionStore(db, group, createSharedParts(db))
  const app = (await createAppStore(db).createApp('full', T))!.id
  client.pragma(`max_page_count = ${Number(client.pragma('page_count', { simple: true })) + 50}`)
  const answers = await Promise.allSettled(times(300, () => addPrediction(store, app)))
  const answeredIds = answers.flatMap(answer => (answer.status === 'fulfilled' ? [answer.value.id] : []))
  expect(answeredIds.length).toBeGreaterThan(50)
  expect(answeredIds.length).toBeLessThan(300)
  const kept = (column: string, table: string) =>
    new Set(client.prepare(`select ${column} from ${table}`).pluck().all())
  expect(kept('id', 'predictions')).toEqual(new Set(answeredIds))
  expect(kept('prediction_id', 'events')).toEqual(new Set(answeredIds))
  close()
})

test('one commit takes a few milliseconds: the rest waits for the next turn', async () => {
  await using f = await openOnDisk()
  const order: string[] = []
  const statements = await recordStatements(async () => {
    const all = Promise.all(times(150, () => addPrediction(f.store, f.app))).then(() => order.push('all'))
    await immediate()
    await immediate()
    order.push('others')
    await all
  })
  expect(commits(statements)).toBe(3)
  expect(order).toEqual(['others', 'all'])
})

test('no transaction is open while a group is pending', async () => {
  const { db, close } = openDatabase(':memory:', { exclusive: false })
  const open: boolean[] = []
  const written = createGroupCommit(db, () => open.push(db.$client.inTransaction)).write(
    () => db.$client.inTransaction,
    () => true,
  )
  open.push(db.$client.inTransaction)
  expect(await written).toBe(true)
  expect(open).toEqual([false, false])
  close()
})

test('after a process is killed every acknowledged write is there, and no write is there in part', async () => {
  await using f = await openOnDisk()
  for (let round = 0; round < 3; round++) {
    const child = spawn(process.execPath, [resolve('test/support/submit-forever.ts'), f.file, f.app], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const ended = once(child, 'close')
    let out = ''
    child.stdout.on('data', chunk => {
      out += chunk
      // The kill comes in the middle of a group.
      if (out.length > 10_000) child.kill('SIGKILL')
    })
    expect(await ended).toEqual([null, 'SIGKILL'])
    const answeredIds = out.split('\n').slice(0, -1)
    const kept = new Set(f.ids())
    expect(answeredIds.filter(id => !kept.has(id))).toEqual([])
  }
  const { n, whole, spent } = f.otherConnection
    .prepare<[], { n: number; whole: number; spent: number }>(
      `select count(*) as n, (select sum(spent) from app_monthly_spend) as spent,
         (select count(distinct prediction_id) from events where type = 'QUEUED') as whole
       from predictions`,
    )
    .get()!
  expect(n).toBeGreaterThan(500)
  expect([whole, spent]).toEqual([n, n])
  expect(f.otherConnection.pragma('integrity_check', { simple: true })).toBe('ok')
})
