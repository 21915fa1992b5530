import { existsSync, readdirSync } from 'node:fs'
import { chmod, mkdir, mkdtemp, readFile, readlink, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { describe, expect, test, vi } from 'vitest'
import { restrictionOf, wholeOf } from '../../../src/domain/access-scope.ts'
import { StartError } from '../../../src/domain/errors.ts'
import type { AppId, Change } from '../../../src/domain/prediction.ts'
import type { Filter } from '../../../src/domain/prediction-filter.ts'
import { openSqlite } from '../../../src/store/sqlite/sqlite-store.ts'
import type { Store } from '../../../src/store/store.ts'
import { statementsOf } from '../../support/statements.ts'
import {
  add,
  addMany,
  HOUR,
  idsOf,
  jobOf,
  log,
  MINUTE,
  NOBODY,
  newApp,
  page,
  SECOND,
  sendAll,
  submits,
  T,
} from '../../support/store.ts'

describe('a SQLite file', () => {
  async function folder() {
    const path = await mkdtemp(join(tmpdir(), 'rushes-store-'))
    const opened: Store[] = []
    return {
      path,
      file: join(path, 'rushes.db'),
      open(file = join(path, 'rushes.db'), ring = () => {}) {
        const store = openSqlite(file, ring)
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

  /** A connection of somebody else to the same file, for the time of one question. */
  function beside<Answer>(file: string, ask: (client: Database.Database) => Answer): Answer {
    const client = new Database(file)
    try {
      return ask(client)
    } finally {
      client.close()
    }
  }

  /** What opening it throws; fails if it does not, or if that is not one sentence for an operator. */
  function refusal(file: string): string {
    let thrown: unknown
    try {
      const store = openSqlite(file, () => {})
      void store.close()
    } catch (error) {
      thrown = error
    }
    expect(thrown).toBeInstanceOf(StartError)
    const { message } = thrown as StartError
    expect(message).toMatch(/^DATABASE_URL: [^\n]+\.$/)
    expect(message).toContain(file.slice(0, file.lastIndexOf('/')))
    return message
  }

  const isRoot = process.getuid?.() === 0

  test('opened again has everything it had, its epoch and its cursor key too', async () => {
    await using f = await folder()
    const before = f.open()
    const app = await newApp(before)
    await before.addKey(app, { prefix: 'rsh_aaaaaaaa', hash: 'h', expiresAt: null }, T)
    await before.bindUpstream('the simulator')
    await addMany(before, app, 2)
    const [sent] = await sendAll(before, T + SECOND)
    await before.change(sent!.id, () => ({ dueAt: T, pause: { reason: 'account', until: T } }), T)
    const kept = async (store: Store) => ({
      epoch: store.epoch,
      cursorKey: store.cursorKey,
      app: await store.app(app),
      key: await store.findKey('rsh_aaaaaaaa'),
      upstream: await store.bindUpstream('another'),
      list: await store.list(wholeOf(app), page()),
      events: await store.eventsAfter({ scope: wholeOf(app), after: 0, limit: 100 }),
      paused: await store.paused(),
      job: await jobOf(store, sent!.id),
    })
    const first = await kept(before)
    await before.close()
    expect(await kept(f.open())).toEqual(first)
    expect(first.events.events).toHaveLength(4)
    expect(first.upstream).toBe('the simulator')
  })

  test('a row that was begun when the process died is found begun', async () => {
    await using f = await folder()
    const dying = f.open()
    const { id } = await add(dying, await newApp(dying))
    await submits(dying, T, { leaseUntil: T + MINUTE })
    // It never closes what it had open.
    const store = f.open()
    expect(await submits(store, T + HOUR)).toEqual([])
    expect(await store.claimAbandoned({ now: T + HOUR, leaseUntil: T + HOUR, limit: 9 })).toMatchObject([
      { id },
    ])
  })

  test('survives a power cut: WAL, and every commit on disk before it is told of', async () => {
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

  test('rings when another connection can already see why', async () => {
    await using f = await folder()
    const seen: unknown[] = []
    const count = (client: Database.Database) => client.prepare('select count(*) from events').pluck().get()
    const store = f.open(f.file, () => seen.push(beside(f.file, count)))
    const { id } = await add(store, await newApp(store))
    await store.change(id, () => ({ status: 'CREATED' }), T)
    await sendAll(store, T)
    expect(seen).toEqual([1, 2])
  })

  test('what claimSubmits gives is begun on disk when it returns', async () => {
    await using f = await folder()
    const store = f.open()
    const { id } = await add(store, await newApp(store))
    await submits(store, T + 5)
    const row = beside(f.file, client =>
      client.prepare('select submission, begun_at from predictions where id = ?').get(id),
    )
    expect(row).toEqual({ submission: 'begun', begun_at: T + 5 })
  })

  test('a row is nothing without its event: where one can’t be written, neither is', async () => {
    await using f = await folder()
    let rings = 0
    const store = f.open(f.file, () => void rings++)
    const app = await newApp(store)
    const before = await add(store, app)
    beside(f.file, client =>
      client.exec("create trigger full before insert on events begin select raise(abort, 'disk full'); end"),
    )
    const change: Change = { status: 'CREATED', pause: { reason: 'account', until: T } }
    await expect(store.change(before.id, () => change, T)).rejects.toThrow()
    await expect(add(store, app)).rejects.toThrow()
    expect((await store.list(wholeOf(app), page())).predictions).toEqual([before])
    expect(await store.paused()).toBeNull()
    expect(rings).toBe(1)
  })

  test('nor is a change anything without its pause', async () => {
    await using f = await folder()
    const store = f.open()
    const app = await newApp(store)
    const before = await add(store, app)
    beside(f.file, client =>
      client.exec("create trigger full before insert on pause begin select raise(abort, 'disk full'); end"),
    )
    const change: Change = { status: 'CREATED', pause: { reason: 'account', until: T } }
    await expect(store.change(before.id, () => change, T)).rejects.toThrow()
    expect(await store.get(wholeOf(app), before.id)).toEqual(before)
    expect(await log(store, app)).toHaveLength(1)
  })

  test('two gateways on one file never claim the same row, nor more than the account may have', async () => {
    await using f = await folder()
    const [one, two] = [f.open(), f.open()]
    await addMany(one, await newApp(one), 12)
    const claims = []
    for (let i = 0; i < 3; i++)
      for (const store of [one, two])
        claims.push(await submits(store, T + HOUR, { limit: 2, concurrency: 9 }))
    const ids = claims.flatMap(idsOf)
    expect(ids).toHaveLength(9)
    expect(new Set(ids).size).toBe(9)
  })

  test('a folder named data is made; any other must be there', async () => {
    await using f = await folder()
    await f.open(join(f.path, 'data', 'rushes.db')).ping()
    const missing = join(f.path, 'elsewhere', 'rushes.db')
    expect(refusal(missing)).toMatch(/the folder .*\/elsewhere does not exist/)
    expect(existsSync(join(f.path, 'elsewhere'))).toBe(false)
    expect(refusal(join(f.path, 'a', 'data', 'rushes.db'))).toMatch(/data can't be made \(ENOENT\)/)
  })

  test('that is no database is refused, and left as it is', async () => {
    await using f = await folder()
    const text = 'Dear diary, this is no database.\n'.repeat(300)
    await writeFile(f.file, text)
    expect(refusal(f.file)).toMatch(/is not a SQLite database/)
    expect(await readFile(f.file, 'utf8')).toBe(text)
  })

  test('that is a folder, or lies in a file, is refused', async () => {
    await using f = await folder()
    await mkdir(f.file)
    expect(refusal(f.file)).toMatch(/can't be opened/)
    const file = join(f.path, 'file')
    await writeFile(file, '')
    refusal(join(file, 'rushes.db'))
  })

  test('of another program is refused', async () => {
    await using f = await folder()
    beside(f.file, client => client.exec('create table diary (entry text)'))
    expect(refusal(f.file)).toMatch(/is the database of another program/)
  })

  test('of another program is left as it is, its journal mode too', async () => {
    await using f = await folder()
    beside(f.file, client => client.exec('create table diary (entry text)'))
    const before = await readFile(f.file)
    refusal(f.file)
    expect(beside(f.file, client => client.pragma('journal_mode', { simple: true }))).toBe('delete')
    expect((await readFile(f.file)).equals(before)).toBe(true)
  })

  test('written by a newer version is refused, and left as it is', async () => {
    await using f = await folder()
    await f.open().close()
    beside(f.file, client =>
      client
        .prepare('insert into __drizzle_migrations (hash, created_at) values (?, ?)')
        .run('f00d', 1_999_999_999_999),
    )
    const before = await readFile(f.file)
    expect(refusal(f.file)).toMatch(/was written by a newer Rushes/)
    expect((await readFile(f.file)).equals(before)).toBe(true)
  })

  test('that is damaged is refused', async () => {
    await using f = await folder()
    const store = f.open()
    await addMany(store, await newApp(store), 50)
    await store.close()
    const bytes = await readFile(f.file)
    bytes.fill(0xff, 100, 4096)
    await writeFile(f.file, bytes)
    expect(refusal(f.file)).toMatch(/is damaged \(SQLITE_CORRUPT\)\. Restore it from a backup/)
  })

  test.skipIf(isRoot)(
    'that may not be written is refused, and so is a new one in such a folder',
    async () => {
      await using f = await folder()
      await f.open().close()
      await chmod(f.file, 0o400)
      expect(refusal(f.file)).toMatch(/no permission to read and write/)
      await rm(f.file)
      await chmod(f.path, 0o500)
      expect(refusal(f.file)).toMatch(/no permission to read and write/)
    },
  )

  test.skipIf(!existsSync('/proc/self/fd'))('that is refused is let go of', async () => {
    await using f = await folder()
    await writeFile(f.file, 'no database '.repeat(1000))
    refusal(f.file)
    const held = await Promise.all(
      readdirSync('/proc/self/fd').map(fd => readlink(`/proc/self/fd/${fd}`).catch(() => '')),
    )
    expect(held.filter(path => path.startsWith(f.path))).toEqual([])
  })

  async function planOf(file: string, ask: () => Promise<unknown>): Promise<string[]> {
    const statements = (await statementsOf(ask)).filter(text => /predictions|posts/.test(text))
    return beside(file, client =>
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

  describe('the hot questions read an index, never the table', () => {
    const asked = { now: T, leaseUntil: T, limit: 3 }
    const place = { createdAt: T, id: NOBODY }
    const app = NOBODY as AppId
    const BY_ID = /predictions USING (COVERING )?INDEX sqlite_autoindex_predictions_1 \(id=\?\)/
    const OF_TAG = ranged('tagged USING PRIMARY KEY \\(app_id=\\? AND tag=\\?', 'prediction_id')
    const OF_SPACE = ranged('USING COVERING INDEX predictions_by_space \\(app_id=\\? AND space=\\?')
    const OF_STATUS = ranged('USING COVERING INDEX predictions_by_status \\(app_id=\\? AND status=\\?')
    /** In order already: a page's worth is read, and no more. */
    const AS_FOUND = /^SCAN found$/
    test.each<[string, (store: Store) => Promise<unknown>, RegExp[], RegExp?]>([
      [
        'claimSubmits',
        store => store.claimSubmits({ ...asked, concurrency: 3, perMinute: 5, imagesSince: 0 }),
        [/predictions_seen/],
      ],
      [
        'claimImages',
        store => store.claimImages({ ...asked, imagesSince: 0, stock: 9 }),
        [/predictions_seen/],
      ],
      ['claimPolls', store => store.claimPolls(asked), [/predictions_followed \(due_at<\?\)/]],
      ['claimAbandoned', store => store.claimAbandoned(asked), [/predictions_begun \(due_at<\?\)/]],
      [
        'queuePositions',
        store => store.queuePositions(app, [NOBODY]),
        [/ahead USING INDEX predictions_waiting \(app_id=\? AND <expr>=\? AND created_at<\?\)/],
      ],
      [
        'usualDuration',
        store => store.usualDuration('WAN_2_2_I2V_PLUS_1080P'),
        [/predictions_finished \(model=\?\)/],
      ],
      [
        'list',
        store => store.list(wholeOf(app), page({ after: place })),
        [/predictions_by_app \(app_id=\? AND/],
      ],
      [
        'list, backward and between two moments',
        store =>
          store.list(
            wholeOf(app),
            page({ backward: true, before: place, filter: { createdAfter: 1, createdBefore: T } }),
          ),
        [/predictions_by_app \(app_id=\? AND \(created_at,id\)>\(\?,\?\) AND \(created_at,id\)<\(\?,\?\)\)/],
      ],
      [
        'list by status',
        store =>
          store.list(wholeOf(app), page({ after: place, filter: { statuses: ['FAILED', 'CANCELED'] } })),
        [
          /predictions_by_status \(app_id=\? AND status=\? AND \(created_at,id\)>\(\?,\?\) AND \(created_at,id\)<\(\?,\?\)\)/,
        ],
        // Of a page's worth of each.
        /^USE TEMP B-TREE FOR ORDER BY/,
      ],
      [
        'list by model',
        store => store.list(wholeOf(app), page({ filter: { models: ['WAN_2_2_I2V_PLUS_1080P'] } })),
        [/predictions_by_app \(app_id=\? AND/],
      ],
      [
        'list by tag',
        store => store.list(wholeOf(app), page({ after: place, filter: { tags: ['a', 'b'] } })),
        [OF_TAG, /^MERGE \(UNION\)$/m, BY_ID],
        AS_FOUND,
      ],
      [
        'list by tag and model, backward',
        store =>
          store.list(
            wholeOf(app),
            page({ backward: true, filter: { tags: ['a'], models: ['WAN_2_2_I2V_PLUS_1080P'] } }),
          ),
        [OF_TAG, BY_ID],
        AS_FOUND,
      ],
      [
        'list of a restricted token',
        store => store.list({ appId: app, only: restrictionOf(['a'], [NOBODY]) }, page({ before: place })),
        [OF_TAG, OF_SPACE, BY_ID],
        // And what it is given by id.
        /^SCAN found$|^USE TEMP B-TREE FOR ORDER BY$/,
      ],
      [
        'list by tag and status, of a restricted token',
        store =>
          store.list(
            { appId: app, only: restrictionOf(['a'], [NOBODY]) },
            page({ filter: { statuses: ['FAILED'], tags: ['b'] } }),
          ),
        [OF_TAG, OF_SPACE, OF_STATUS, BY_ID],
        // Of the ways, and of a page's worth.
        /^SCAN (found|least|\d .+ ROWS|\d-ROW .+|\(subquery-\d+\))$|^USE TEMP B-TREE FOR ORDER BY$/,
      ],
      [
        'usage of a restricted token',
        store => store.usage({ appId: app, only: restrictionOf(['a'], [NOBODY]) }, T),
        [
          /tagged USING PRIMARY KEY \(app_id=\? AND tag=\? AND created_at>\? AND created_at<\?\)/,
          /predictions_by_space \(app_id=\? AND space=\? AND created_at>\? AND created_at<\?\)/,
          BY_ID,
        ],
      ],
      ['getMany', store => store.getMany(wholeOf(app), [NOBODY]), [BY_ID]],
      [
        'getMany of a restricted token',
        store => store.getMany({ appId: app, only: restrictionOf(['a'], []) }, [NOBODY]),
        [BY_ID],
      ],
      [
        'repeated',
        store => store.repeated(app, { space: '', key: 'k', fingerprint: 'f' }, T),
        [/predictions_by_idempotency_key \(app_id=\? AND space=\? AND idempotency_key=\?\)/],
      ],
      [
        'usage',
        store => store.usage(wholeOf(app), T),
        [/predictions_waiting \(app_id=\?\)/, /predictions_in_flight \(app_id=\?\)/],
      ],
      [
        'histories',
        store => store.histories(wholeOf(app), [NOBODY], 0, 9),
        [/events_by_prediction \(prediction_id=\? AND seq>\?\)/, /predictions_1 \(id=\?\)/],
        // What is sorted is what is answered with.
        /^USE TEMP B-TREE FOR ORDER BY/,
      ],
      [
        'eventsAfter',
        store => store.eventsAfter({ scope: wholeOf(app), after: 0, limit: 9 }),
        [/events_by_app \(app_id=\? AND/],
      ],
      ['logAfter', store => store.logAfter(0, 9), [/events USING INTEGER PRIMARY KEY/]],
      [
        'eventsAfter of one prediction',
        store => store.eventsAfter({ scope: wholeOf(app), after: 0, limit: 9, predictionId: NOBODY }),
        [/events_by_prediction \(prediction_id=\? AND/],
      ],
    ])('%s', async (_, ask, indices, besides) => {
      await using f = await folder()
      const store = f.open()
      const plan = await planOf(f.file, () => ask(store))
      for (const index of indices) expect(plan.join('\n')).toMatch(index)
      const slow = plan.filter(step => /^SCAN (?!pause|CONSTANT|.*INDEX)|TEMP B-TREE/.test(step))
      expect(slow.filter(step => !besides?.test(step))).toEqual([])
    })
  })

  test.each<[string, boolean, Filter, sorts: number]>([
    ['by tag', false, { tags: ['a', 'b'] }, 0],
    ['by tag and model', false, { tags: ['a'], models: ['WAN_2_2_I2V_PLUS_1080P'] }, 0],
    // What it is given by id.
    ['of a restricted token', true, {}, 1],
    ['of a restricted token, by model', true, { models: ['WAN_2_2_I2V_PLUS_1080P'] }, 1],
    // Of the ways, which has least; and of each a page.
    ['by tag and status', false, { tags: ['a'], statuses: ['FAILED'] }, 3],
    ['of a restricted token, by tag', true, { tags: ['b'] }, 4],
    ['of a restricted token, by tag and status', true, { tags: ['b'], statuses: ['FAILED'] }, 5],
  ])(
    'a list %s is read in its order, no further than the page goes',
    async (_, isRestricted, filter, sorts) => {
      await using f = await folder()
      const store = f.open()
      const scope = { appId: NOBODY as AppId, only: isRestricted ? restrictionOf(['a'], [NOBODY]) : null }
      for (const backward of [false, true]) {
        const plan = await planOf(f.file, () => store.list(scope, page({ backward, filter })))
        expect(plan.filter(step => step.includes('TEMP B-TREE'))).toHaveLength(sorts)
        expect(plan.join('\n')).toMatch(/CO-ROUTINE found/)
      }
    },
  )

  test('held alone is refused to the next gateway until it is let go of', async () => {
    await using f = await folder()
    const first = openSqlite(f.file, () => {}, { alone: true })
    expect(() => openSqlite(f.file, () => {}, { alone: true })).toThrow(
      /another gateway runs on .*rushes\.db/,
    )
    // Whoever only writes a row, as `npm run app` does, is not kept out.
    await openSqlite(f.file, () => {}).close()
    await first.close()
    await openSqlite(f.file, () => {}, { alone: true }).close()
  })

  test('whoever does not hold it changes no tables under a gateway that runs', async () => {
    await using f = await folder()
    const running = openSqlite(f.file, () => {}, { alone: true })
    const db = new Database(f.file)
    const last = db.prepare('select * from __drizzle_migrations order by created_at desc limit 1').get()
    db.prepare('delete from __drizzle_migrations where hash = ?').run((last as { hash: string }).hash)
    const applied = () => db.prepare('select count(*) from __drizzle_migrations').pluck().get()
    const before = applied()
    expect(refusal(f.file)).toMatch(/a gateway of an earlier version runs on .+ Stop it first\./)
    expect(applied()).toBe(before)
    db.close()
    await running.close()
  })

  test('held alone is held under whatever name a link gives it', async () => {
    await using f = await folder()
    const first = openSqlite(f.file, () => {}, { alone: true })
    const link = join(f.path, 'link.db')
    await symlink(f.file, link)
    expect(() => openSqlite(link, () => {}, { alone: true })).toThrow(/another gateway runs/)
    await first.close()
  })

  test('opened alone, what upstream works on is due for a look, whoever held a lease on it', async () => {
    await using f = await folder()
    const before = f.open()
    const app = await newApp(before)
    await add(before, app)
    await sendAll(before, T)
    expect(await before.claimPolls({ now: T, leaseUntil: T + MINUTE, limit: 9 })).toHaveLength(1)
    await before.close()
    const after = openSqlite(f.file, () => {}, { alone: true })
    expect(await after.claimPolls({ now: T, leaseUntil: T + MINUTE, limit: 9 })).toHaveLength(1)
    await after.close()
  })

  test('opened alone, what an earlier process had begun is abandoned at once', async () => {
    await using f = await folder()
    const before = f.open()
    await add(before, await newApp(before))
    await submits(before, T)
    await before.close()
    const after = openSqlite(f.file, () => {}, { alone: true })
    expect(await after.claimAbandoned({ now: T, leaseUntil: T + MINUTE, limit: 9 })).toHaveLength(1)
    await after.close()
  })
})
