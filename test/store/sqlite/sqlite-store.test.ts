import { existsSync, readdirSync } from 'node:fs'
import { chmod, mkdir, mkdtemp, readFile, readlink, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { describe, expect, test, vi } from 'vitest'
import { createRestriction, createScope, fullScope } from '../../../src/domain/access-scope.ts'
import { StartupError } from '../../../src/domain/errors.ts'
import type { AppId, StateChange } from '../../../src/domain/prediction.ts'
import type { Filter } from '../../../src/domain/prediction-filter.ts'
import { openSqliteStore } from '../../../src/store/sqlite/sqlite-store.ts'
import type { Store } from '../../../src/store/store.ts'
import {
  addPrediction,
  addPredictions,
  claimReadySubmits,
  eventsOf,
  MINUTE,
  newApp,
  pageRequest,
  submitAll,
  T,
  UNKNOWN_ID,
} from '../../support/store.ts'
import { recordStatements } from './record-statements.ts'

const AS_GATEWAY = { thisProcess: { gatewayStartedAt: Date.now() } }

describe('a SQLite file', () => {
  async function folder() {
    const path = await mkdtemp(join(tmpdir(), 'rushes-store-'))
    const opened: Store[] = []
    return {
      path,
      file: join(path, 'rushes.db'),
      open(file = join(path, 'rushes.db'), notify = () => {}) {
        const store = openSqliteStore(file, notify)
        opened.push(store)
        return store
      },
      async [Symbol.asyncDispose]() {
        for (const store of opened) await store.close()
        await chmod(path, 0o700)
        await rm(path, { recursive: true })
      },
    }
  }

  /** Runs `ask` with another connection to the file. */
  function withOtherConnection<Answer>(file: string, ask: (client: Database.Database) => Answer): Answer {
    const client = new Database(file)
    try {
      return ask(client)
    } finally {
      client.close()
    }
  }

  /** The message that opening throws. Fails if it does not throw, or if the message is not one sentence for an operator. */
  function startupErrorOf(file: string): string {
    let thrown: unknown
    try {
      const store = openSqliteStore(file, () => {})
      void store.close()
    } catch (error) {
      thrown = error
    }
    expect(thrown).toBeInstanceOf(StartupError)
    const { message } = thrown as StartupError
    expect(message).toMatch(/^DATABASE_URL: [^\n]+\.$/)
    expect(message).toContain(file.slice(0, file.lastIndexOf('/')))
    return message
  }

  const isRoot = process.getuid?.() === 0

  test('survives a power cut: WAL, and every commit is on disk before it is acknowledged', async () => {
    await using f = await folder()
    const prototype = Database.prototype as Database.Database
    const pragma = vi.spyOn(prototype, 'pragma')
    try {
      f.open()
      const client = pragma.mock.contexts[0] as Database.Database
      expect(client.pragma('journal_mode', { simple: true })).toBe('wal')
      expect(client.pragma('synchronous', { simple: true })).toBe(2)
      expect(client.pragma('foreign_keys', { simple: true })).toBe(1)
    } finally {
      pragma.mockRestore()
    }
  })

  test('a row is not written without its event', async () => {
    await using f = await folder()
    let notifications = 0
    const store = f.open(f.file, () => void notifications++)
    const app = await newApp(store)
    const before = await addPrediction(store, app)
    withOtherConnection(f.file, client =>
      client.exec("create trigger full before insert on events begin select raise(abort, 'disk full'); end"),
    )
    const change: StateChange = { status: 'CREATED', submitCircuit: { reason: 'account', until: T } }
    await expect(store.change(before.id, () => change, T)).rejects.toThrow()
    await expect(addPrediction(store, app)).rejects.toThrow()
    expect((await store.list(fullScope(app), pageRequest())).predictions).toEqual([before])
    expect(await store.submitCircuit()).toBeNull()
    expect(notifications).toBe(1)
  })

  test('a change is not written without its circuit', async () => {
    await using f = await folder()
    const store = f.open()
    const app = await newApp(store)
    const before = await addPrediction(store, app)
    withOtherConnection(f.file, client =>
      client.exec(
        "create trigger full before insert on submit_circuit begin select raise(abort, 'disk full'); end",
      ),
    )
    const change: StateChange = { status: 'CREATED', submitCircuit: { reason: 'account', until: T } }
    await expect(store.change(before.id, () => change, T)).rejects.toThrow()
    expect(await store.get(fullScope(app), before.id)).toEqual(before)
    expect(await eventsOf(store, app)).toHaveLength(1)
  })

  test('in a folder named data gets the folder created; any other folder must exist', async () => {
    await using f = await folder()
    await f.open(join(f.path, 'data', 'rushes.db')).ping()
    const missing = join(f.path, 'elsewhere', 'rushes.db')
    expect(startupErrorOf(missing)).toMatch(/the folder .*\/elsewhere does not exist/)
    expect(existsSync(join(f.path, 'elsewhere'))).toBe(false)
    expect(startupErrorOf(join(f.path, 'a', 'data', 'rushes.db'))).toMatch(/data can't be made \(ENOENT\)/)
  })

  test('that is not a database is refused and not changed', async () => {
    await using f = await folder()
    const text = 'Dear diary, this is no database.\n'.repeat(300)
    await writeFile(f.file, text)
    expect(startupErrorOf(f.file)).toMatch(/is not a SQLite database/)
    expect(await readFile(f.file, 'utf8')).toBe(text)
  })

  test('that is a folder, or lies in a file, is refused', async () => {
    await using f = await folder()
    await mkdir(f.file)
    expect(startupErrorOf(f.file)).toMatch(/can't be opened/)
    const file = join(f.path, 'file')
    await writeFile(file, '')
    startupErrorOf(join(file, 'rushes.db'))
  })

  test('of another program is refused', async () => {
    await using f = await folder()
    withOtherConnection(f.file, client => client.exec('create table diary (entry text)'))
    expect(startupErrorOf(f.file)).toMatch(/is the database of another program/)
  })

  test('of another program is not changed, nor its journal mode', async () => {
    await using f = await folder()
    withOtherConnection(f.file, client => client.exec('create table diary (entry text)'))
    const before = await readFile(f.file)
    startupErrorOf(f.file)
    expect(withOtherConnection(f.file, client => client.pragma('journal_mode', { simple: true }))).toBe(
      'delete',
    )
    expect((await readFile(f.file)).equals(before)).toBe(true)
  })

  test('written by a newer version is refused and not changed', async () => {
    await using f = await folder()
    await f.open().close()
    withOtherConnection(f.file, client =>
      client
        .prepare('insert into __drizzle_migrations (hash, created_at) values (?, ?)')
        .run('f00d', 1_999_999_999_999),
    )
    const before = await readFile(f.file)
    expect(startupErrorOf(f.file)).toMatch(/was written by a newer Rushes/)
    expect((await readFile(f.file)).equals(before)).toBe(true)
  })

  test('that is damaged is refused', async () => {
    await using f = await folder()
    const store = f.open()
    await addPredictions(store, await newApp(store), 50)
    await store.close()
    const bytes = await readFile(f.file)
    bytes.fill(0xff, 100, 4096)
    await writeFile(f.file, bytes)
    expect(startupErrorOf(f.file)).toMatch(/is damaged \(SQLITE_CORRUPT\)\. Restore it from a backup/)
  })

  test.skipIf(isRoot)('that is read-only is refused, and so is a new one in a read-only folder', async () => {
    await using f = await folder()
    await f.open().close()
    await chmod(f.file, 0o400)
    expect(startupErrorOf(f.file)).toMatch(/no permission to read and write/)
    await rm(f.file)
    await chmod(f.path, 0o500)
    expect(startupErrorOf(f.file)).toMatch(/no permission to read and write/)
  })

  test.skipIf(!existsSync('/proc/self/fd'))('that is refused is closed', async () => {
    await using f = await folder()
    await writeFile(f.file, 'no database '.repeat(1000))
    startupErrorOf(f.file)
    const openDescriptors = await Promise.all(
      readdirSync('/proc/self/fd').map(fd => readlink(`/proc/self/fd/${fd}`).catch(() => '')),
    )
    expect(openDescriptors.filter(path => path.startsWith(f.path))).toEqual([])
  })

  async function planOf(file: string, ask: () => Promise<unknown>): Promise<string[]> {
    const statements = (await recordStatements(ask)).filter(text => /predictions|submit_attempts/.test(text))
    return withOtherConnection(file, client =>
      statements.flatMap(text =>
        client
          .prepare<unknown[], { detail: string }>(`explain query plan ${text}`)
          .all(
            Array.from(text.matchAll(/\?/g), () => 1),
            Object.fromEntries(Array.from(text.matchAll(/@(\w+)/g), ([, name]) => [name, null])),
          )
          .map(step => step.detail),
      ),
    )
  }

  const ranged = (index: string, id = 'id') =>
    new RegExp(
      `${index} AND \\(created_at,${id}\\)>\\(\\?,\\?\\) AND \\(created_at,${id}\\)<\\(\\?,\\?\\)\\)`,
    )

  describe('hot queries read an index, never the table', () => {
    const claimOptions = { now: T, leaseUntil: T, limit: 3 }
    const position = { createdAt: T, id: UNKNOWN_ID }
    const app = UNKNOWN_ID as AppId
    const BY_ID = /predictions USING (COVERING )?INDEX sqlite_autoindex_predictions_1 \(id=\?\)/
    const OF_TAG = ranged('prediction_tags USING PRIMARY KEY \\(app_id=\\? AND tag=\\?', 'prediction_id')
    const OF_RESTRICTION = ranged(
      'USING COVERING INDEX predictions_by_restriction \\(app_id=\\? AND restriction_key=\\?',
    )
    const OF_STATUS = ranged('USING COVERING INDEX predictions_by_status \\(app_id=\\? AND status=\\?')
    /** The rows are in order: no more than a page is read. */
    const AS_MATCHED = /^SCAN matched$/
    test.each<[string, (store: Store) => Promise<unknown>, RegExp[], RegExp?]>([
      [
        'claimSubmits',
        store =>
          store.claimSubmits({
            ...claimOptions,
            upstreamConcurrency: 3,
            upstreamSubmitsPerMinute: 5,
            imageVerifiedAfter: 0,
          }),
        [/predictions_image_verified/],
      ],
      [
        'claimImageChecks',
        store => store.claimImageChecks({ ...claimOptions, imageVerifiedAfter: 0, readyTarget: 9 }),
        [/predictions_image_verified/],
      ],
      ['claimPolls', store => store.claimPolls(claimOptions), [/predictions_tracked \(due_at<\?\)/]],
      [
        'claimAbandonedSubmits',
        store => store.claimAbandonedSubmits(claimOptions),
        [/predictions_submit_started \(due_at<\?\)/],
      ],
      [
        'queuePositions',
        store => store.queuePositions(app, [UNKNOWN_ID]),
        [/ahead USING INDEX predictions_waiting \(app_id=\? AND <expr>=\? AND created_at<\?\)/],
      ],
      [
        'medianDuration',
        store => store.medianDuration('WAN_2_2_I2V_PLUS_1080P'),
        [/predictions_finished \(model=\?\)/],
      ],
      [
        'list',
        store => store.list(fullScope(app), pageRequest({ after: position })),
        [/predictions_by_app \(app_id=\? AND/],
      ],
      [
        'list, backward and between two times',
        store =>
          store.list(
            fullScope(app),
            pageRequest({ backward: true, before: position, filter: { createdAfter: 1, createdBefore: T } }),
          ),
        [/predictions_by_app \(app_id=\? AND \(created_at,id\)>\(\?,\?\) AND \(created_at,id\)<\(\?,\?\)\)/],
      ],
      [
        'list by status',
        store =>
          store.list(
            fullScope(app),
            pageRequest({ after: position, filter: { statuses: ['FAILED', 'CANCELED'] } }),
          ),
        [
          /predictions_by_status \(app_id=\? AND status=\? AND \(created_at,id\)>\(\?,\?\) AND \(created_at,id\)<\(\?,\?\)\)/,
        ],
        // Sorts one page of each status.
        /^USE TEMP B-TREE FOR ORDER BY/,
      ],
      [
        'list by model',
        store => store.list(fullScope(app), pageRequest({ filter: { models: ['WAN_2_2_I2V_PLUS_1080P'] } })),
        [/predictions_by_app \(app_id=\? AND/],
      ],
      [
        'list by tag',
        store => store.list(fullScope(app), pageRequest({ after: position, filter: { tags: ['a', 'b'] } })),
        [OF_TAG, /^MERGE \(UNION\)$/m, BY_ID],
        AS_MATCHED,
      ],
      [
        'list by tag and model, backward',
        store =>
          store.list(
            fullScope(app),
            pageRequest({ backward: true, filter: { tags: ['a'], models: ['WAN_2_2_I2V_PLUS_1080P'] } }),
          ),
        [OF_TAG, BY_ID],
        AS_MATCHED,
      ],
      [
        'list of a restricted token',
        store =>
          store.list(
            createScope(app, createRestriction(['a'], [UNKNOWN_ID])),
            pageRequest({ before: position }),
          ),
        [OF_TAG, OF_RESTRICTION, BY_ID],
        // Also sorts the rows that are visible by id.
        /^SCAN matched$|^USE TEMP B-TREE FOR ORDER BY$/,
      ],
      [
        'list by tag and status, of a restricted token',
        store =>
          store.list(
            createScope(app, createRestriction(['a'], [UNKNOWN_ID])),
            pageRequest({ filter: { statuses: ['FAILED'], tags: ['b'] } }),
          ),
        [OF_TAG, OF_RESTRICTION, OF_STATUS, BY_ID],
        // Sorts the counts of the paths, and a page of each.
        /^SCAN (matched|cheapest|\d .+ ROWS|\d-ROW .+|\(subquery-\d+\))$|^USE TEMP B-TREE FOR ORDER BY$/,
      ],
      [
        'usage of a restricted token',
        store => store.usage(createScope(app, createRestriction(['a'], [UNKNOWN_ID])), T),
        [
          /prediction_tags USING PRIMARY KEY \(app_id=\? AND tag=\? AND created_at>\? AND created_at<\?\)/,
          /predictions_by_restriction \(app_id=\? AND restriction_key=\? AND created_at>\? AND created_at<\?\)/,
          BY_ID,
        ],
        // Counts the rows that each path would read.
        /^SCAN \(subquery-\d+\)$/,
      ],
      ['getMany', store => store.getMany(fullScope(app), [UNKNOWN_ID]), [BY_ID]],
      [
        'getMany of a restricted token',
        store => store.getMany(createScope(app, createRestriction(['a'], [])), [UNKNOWN_ID]),
        [BY_ID],
      ],
      [
        'findByIdempotencyKey',
        store => store.findByIdempotencyKey(app, { restrictionKey: '', key: 'k', fingerprint: 'f' }, T),
        [/predictions_by_idempotency_key \(app_id=\? AND restriction_key=\? AND idempotency_key=\?\)/],
      ],
      [
        'usage',
        store => store.usage(fullScope(app), T),
        [/predictions_waiting \(app_id=\?\)/, /predictions_in_flight \(app_id=\?\)/],
      ],
      [
        'histories',
        store => store.histories(fullScope(app), [UNKNOWN_ID], 0, 9),
        [/events_by_prediction \(prediction_id=\? AND seq>\?\)/, /predictions_1 \(id=\?\)/],
        // Sorts the result.
        /^USE TEMP B-TREE FOR ORDER BY/,
      ],
      [
        'eventsAfter',
        store => store.eventsAfter({ scope: fullScope(app), afterSeq: 0, limit: 9 }),
        [/events_by_app \(app_id=\? AND/],
      ],
      ['allEventsAfter', store => store.allEventsAfter(0, 9), [/events USING INTEGER PRIMARY KEY/]],
      [
        'eventsAfter of one prediction',
        store =>
          store.eventsAfter({ scope: fullScope(app), afterSeq: 0, limit: 9, predictionId: UNKNOWN_ID }),
        [/events_by_prediction \(prediction_id=\? AND/],
      ],
    ])('%s', async (_, ask, indices, besides) => {
      await using f = await folder()
      const store = f.open()
      const plan = await planOf(f.file, () => ask(store))
      for (const index of indices) expect(plan.join('\n')).toMatch(index)
      const slow = plan.filter(step => /^SCAN (?!submit_circuit|CONSTANT|.*INDEX)|TEMP B-TREE/.test(step))
      expect(slow.filter(step => !besides?.test(step))).toEqual([])
    })
  })

  test.each<[string, boolean, Filter, sorts: number]>([
    ['by tag', false, { tags: ['a', 'b'] }, 0],
    ['by tag and model', false, { tags: ['a'], models: ['WAN_2_2_I2V_PLUS_1080P'] }, 0],
    // Sorts the rows that are visible by id.
    ['of a restricted token', true, {}, 1],
    ['of a restricted token, by model', true, { models: ['WAN_2_2_I2V_PLUS_1080P'] }, 1],
    // Sorts the counts of the paths, and a page of each.
    ['by tag and status', false, { tags: ['a'], statuses: ['FAILED'] }, 3],
    ['of a restricted token, by tag', true, { tags: ['b'] }, 4],
    ['of a restricted token, by tag and status', true, { tags: ['b'], statuses: ['FAILED'] }, 5],
  ])(
    'a list %s is read in its order, no further than the page needs',
    async (_, isRestricted, filter, sorts) => {
      await using f = await folder()
      const store = f.open()
      const scope = createScope(
        UNKNOWN_ID as AppId,
        isRestricted ? createRestriction(['a'], [UNKNOWN_ID]) : null,
      )
      for (const backward of [false, true]) {
        const plan = await planOf(f.file, () => store.list(scope, pageRequest({ backward, filter })))
        expect(plan.filter(step => step.includes('TEMP B-TREE'))).toHaveLength(sorts)
        expect(plan.join('\n')).toMatch(/CO-ROUTINE matched/)
      }
    },
  )

  test('opened by a gateway is refused to the next gateway until it is closed', async () => {
    await using f = await folder()
    const first = openSqliteStore(f.file, () => {}, AS_GATEWAY)
    expect(() => openSqliteStore(f.file, () => {}, AS_GATEWAY)).toThrow(
      /another gateway runs on .*rushes\.db/,
    )
    // A process that only writes a row, like `npm run app`, is not kept out.
    await openSqliteStore(f.file, () => {}).close()
    await first.close()
    await openSqliteStore(f.file, () => {}, AS_GATEWAY).close()
  })

  test('is not migrated by a process without the lock under a running gateway', async () => {
    await using f = await folder()
    const running = openSqliteStore(f.file, () => {}, AS_GATEWAY)
    const db = new Database(f.file)
    const last = db.prepare('select * from __drizzle_migrations order by created_at desc limit 1').get()
    db.prepare('delete from __drizzle_migrations where hash = ?').run((last as { hash: string }).hash)
    const applied = () => db.prepare('select count(*) from __drizzle_migrations').pluck().get()
    const before = applied()
    expect(startupErrorOf(f.file)).toMatch(/a gateway of an earlier version runs on .+ Stop it first\./)
    expect(applied()).toBe(before)
    db.close()
    await running.close()
  })

  test('opened by a gateway is locked under any name that a link gives it', async () => {
    await using f = await folder()
    const first = openSqliteStore(f.file, () => {}, AS_GATEWAY)
    const link = join(f.path, 'link.db')
    await symlink(f.file, link)
    expect(() => openSqliteStore(link, () => {}, AS_GATEWAY)).toThrow(/another gateway runs/)
    await first.close()
  })

  test('opened by a gateway has accepted jobs due for a poll, whatever their lease', async () => {
    await using f = await folder()
    const before = f.open()
    const app = await newApp(before)
    await addPrediction(before, app)
    await submitAll(before, T)
    expect(await before.claimPolls({ now: T, leaseUntil: T + MINUTE, limit: 9 })).toHaveLength(1)
    await before.close()
    const after = openSqliteStore(f.file, () => {}, AS_GATEWAY)
    expect(await after.claimPolls({ now: T, leaseUntil: T + MINUTE, limit: 9 })).toHaveLength(1)
    await after.close()
  })

  test('opened by a gateway has jobs that an earlier process had begun abandoned at once', async () => {
    await using f = await folder()
    const before = f.open()
    await addPrediction(before, await newApp(before))
    await claimReadySubmits(before, T)
    await before.close()
    const after = openSqliteStore(f.file, () => {}, AS_GATEWAY)
    expect(await after.claimAbandonedSubmits({ now: T, leaseUntil: T + MINUTE, limit: 9 })).toHaveLength(1)
    await after.close()
  })
})
