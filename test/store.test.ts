import { existsSync, readdirSync } from 'node:fs'
import { chmod, mkdir, mkdtemp, readFile, readlink, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import fc from 'fast-check'
import { describe, expect, test, vi } from 'vitest'
import { StartError } from '../src/errors.ts'
import { type Filter, matches } from '../src/filter.ts'
import { VIDEO_MODELS } from '../src/models.ts'
import {
  type AppId,
  answered,
  type Change,
  type Draft,
  type Job,
  type Observation,
  observed,
  type Prediction,
  type PredictionEvent,
  STATUSES,
} from '../src/prediction.ts'
import { openSqlite } from '../src/store/sqlite/open.ts'
import type { PageRequest, Store } from '../src/store/store.ts'

/** A second engine is one more line. */
const ENGINES = [
  ['SQLite', async (ring: () => void): Promise<Store> => openSqlite(':memory:', ring)],
] as const

/** Some moment. */
const T = 1_800_000_000_000
const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const PRICE = 800_000
const NOBODY = '018f0000-0000-7000-8000-000000000000'
const UNLIMITED = { limit: 1000, concurrency: null, perMinute: null }

const COMPLETED: Observation = {
  status: 'completed',
  outputs: [{ url: 'https://videos.example/1.mp4', hasNsfwContent: false }],
  inferenceMs: 900,
}

type Open = (typeof ENGINES)[number][1]

async function fixture(open: Open) {
  let rings = 0
  const store = await open(() => void rings++)
  const app = await newApp(store)
  return {
    store,
    app,
    get rings() {
      return rings
    },
    [Symbol.asyncDispose]: store.close,
  }
}

let apps = 0
const newApp = async (store: Store): Promise<AppId> => (await store.createApp(`app ${apps++}`, T))!.id

const draft = (appId: AppId, over: Partial<Draft> = {}): Draft & { cost: number } => ({
  appId,
  model: 'WAN_2_2_I2V_PLUS_1080P',
  input: {
    imageUrl: 'https://images.example/cat.png',
    prompt: 'a slow pan',
    negativePrompt: null,
    duration: 5,
    enablePromptExpansion: false,
    seed: -1,
  },
  tags: [],
  metadata: null,
  retryOf: null,
  cost: PRICE,
  ...over,
})

const add = async (store: Store, appId: AppId, at = T, over: Partial<Draft> = {}): Promise<Prediction> =>
  (await store.create(draft(appId, over), null, at)).prediction

const addMany = async (store: Store, appId: AppId, count: number, at = T): Promise<string[]> => {
  const ids = []
  for (let i = 0; i < count; i++) ids.push((await add(store, appId, at + i)).id)
  return ids
}

const submits = (store: Store, at: number, over: Partial<Parameters<Store['claimSubmits']>[0]> = {}) =>
  store.claimSubmits({ now: at, leaseUntil: at + MINUTE, ...UNLIMITED, ...over })

/** Everything that waits is sent and accepted at `at`, and due for its first look then. */
const sendAll = async (store: Store, at: number): Promise<Job[]> => {
  const jobs = []
  for (const { id, fence } of await submits(store, at))
    jobs.push(
      (await store.change(
        id,
        answered({ kind: 'accepted', upstreamId: `up-${id}` }, at, at),
        at,
        fence,
      )) as Job,
    )
  return jobs
}

/** The row as the workers see it. */
const jobOf = async (store: Store, id: string): Promise<Job> => {
  let seen: Job | undefined
  await store.change(
    id,
    job => {
      seen = job
      return null
    },
    T,
  )
  return seen!
}

const log = async (store: Store, appId: AppId, after = 0): Promise<PredictionEvent[]> =>
  (await store.eventsAfter({ appId, after, limit: 10_000 })).events

const idsOf = (rows: readonly { id: string }[]): string[] => rows.map(row => row.id)
const page = (over: Partial<PageRequest> = {}): PageRequest => ({
  limit: 100,
  backward: false,
  after: null,
  before: null,
  filter: {},
  ...over,
})

/** Every page, one after the other, from the end that the direction begins with. */
async function walk(store: Store, appId: AppId, limit: number, backward: boolean, filter: Filter = {}) {
  const pages: Prediction[][] = []
  for (let at: Prediction | undefined; ; ) {
    const place = at === undefined ? {} : backward ? { before: at } : { after: at }
    const { predictions, ...more } = await store.list(appId, page({ limit, backward, filter, ...place }))
    pages.push(predictions)
    const further = backward ? more.hasPreviousPage : more.hasNextPage
    const back = backward ? more.hasNextPage : more.hasPreviousPage
    expect(back).toBe(at !== undefined)
    if (!further) return pages
    expect(predictions).toHaveLength(limit)
    at = predictions.at(backward ? 0 : -1)
  }
}

const newestFirst = (a: Prediction, b: Prediction) => b.createdAt - a.createdAt || (a.id < b.id ? 1 : -1)

describe.each(ENGINES)('%s', (_, open) => {
  describe('create', () => {
    test('a prediction waits as it was asked for, with its event and one ring', async () => {
      await using f = await fixture(open)
      const asked = draft(f.app, {
        model: 'WAN_2_2_I2V_PLUS_480P',
        input: {
          imageUrl: 'https://images.example/ä.png?a=1&b=2',
          prompt: 'line one\nline two \u{1f3ac}',
          negativePrompt: 'blur',
          duration: 5,
          enablePromptExpansion: true,
          seed: 2_147_483_647,
        },
        tags: ['b', 'a'],
        metadata: { order: [1, 'two', null], ünï: true },
        retryOf: NOBODY,
      })
      const { kind, prediction } = await f.store.create(asked, null, T)
      const { cost: _cost, ...rest } = asked
      expect(kind).toBe('created')
      expect(prediction).toEqual({
        ...rest,
        id: expect.stringMatching(/^[\da-f-]{36}$/),
        status: 'QUEUED',
        outputs: [],
        error: null,
        cost: PRICE,
        upstreamId: null,
        submittedAt: null,
        startedAt: null,
        finishedAt: null,
        inferenceMs: null,
        createdAt: T,
        updatedAt: T,
      })
      expect(await f.store.get(f.app, prediction.id)).toEqual(prediction)
      expect(await log(f.store, f.app)).toEqual([
        { seq: 1, type: 'QUEUED', previousStatus: null, occurredAt: T, prediction },
      ])
      expect(f.rings).toBe(1)
      expect(await jobOf(f.store, prediction.id)).toMatchObject({
        submission: 'none',
        fence: 0,
        attempts: 0,
        begunAt: null,
        emptySince: null,
      })
    })

    test.each([[null], [false], [0], [''], ['text'], [[]], [{}], [{ a: [null, 1.5] }]])(
      'metadata %j comes back as it was given',
      async metadata => {
        await using f = await fixture(open)
        const { id } = await add(f.store, f.app, T, { metadata })
        expect((await f.store.get(f.app, id))?.metadata).toEqual(metadata)
        expect((await log(f.store, f.app))[0]?.prediction.metadata).toEqual(metadata)
      },
    )

    test('for an app that does not exist it throws, and leaves nothing behind', async () => {
      await using f = await fixture(open)
      await expect(add(f.store, NOBODY as AppId)).rejects.toThrow()
      expect(f.rings).toBe(0)
      expect(await f.store.eventBounds()).toEqual({ head: 0, floor: 0 })
    })
  })

  describe('idempotency', () => {
    const once = { key: 'k', fingerprint: 'a' }

    test('the same key and fingerprint are the same prediction: no row, no event, no ring', async () => {
      await using f = await fixture(open)
      const first = await f.store.create(draft(f.app), once, T)
      const second = await f.store.create(draft(f.app), once, T + SECOND)
      expect(second).toEqual({ kind: 'repeated', prediction: first.prediction })
      expect(await log(f.store, f.app)).toHaveLength(1)
      expect(f.rings).toBe(1)
    })

    test('a repetition answers with the prediction as it stands now', async () => {
      await using f = await fixture(open)
      const { prediction } = await f.store.create(draft(f.app), once, T)
      await f.store.change(prediction.id, () => ({ status: 'CANCELED' }), T + 1)
      const { prediction: again } = await f.store.create(draft(f.app), once, T + 2)
      expect(again).toMatchObject({ id: prediction.id, status: 'CANCELED' })
    })

    test('the same key with another fingerprint is a conflict that names the one who has it', async () => {
      await using f = await fixture(open)
      const { prediction } = await f.store.create(draft(f.app), once, T)
      const other = await f.store.create(draft(f.app), { ...once, fingerprint: 'b' }, T)
      expect(other).toEqual({ kind: 'conflict', prediction })
      expect(await log(f.store, f.app)).toHaveLength(1)
      expect(f.rings).toBe(1)
    })

    test('a key is an app’s own', async () => {
      await using f = await fixture(open)
      const first = await f.store.create(draft(f.app), once, T)
      const second = await f.store.create(draft(await newApp(f.store)), once, T)
      expect(second.kind).toBe('created')
      expect(second.prediction.id).not.toBe(first.prediction.id)
    })

    test('a key is held for 24 hours and then free, for either fingerprint', async () => {
      await using f = await fixture(open)
      const first = await f.store.create(draft(f.app), once, T)
      expect((await f.store.create(draft(f.app), once, T + 24 * HOUR - 1)).kind).toBe('repeated')
      const next = await f.store.create(draft(f.app), { ...once, fingerprint: 'b' }, T + 24 * HOUR)
      expect(next.kind).toBe('created')
      expect(next.prediction.id).not.toBe(first.prediction.id)
      // It is held by the new one now, for the new one's day.
      expect((await f.store.create(draft(f.app), once, T + 25 * HOUR)).kind).toBe('conflict')
      expect(await f.store.get(f.app, first.prediction.id)).toEqual(first.prediction)
    })

    test('fifty at once are one row and one event', async () => {
      await using f = await fixture(open)
      const all = await Promise.all(Array.from({ length: 50 }, () => f.store.create(draft(f.app), once, T)))
      expect(all.filter(({ kind }) => kind === 'created')).toHaveLength(1)
      expect(all.filter(({ kind }) => kind === 'repeated')).toHaveLength(49)
      expect(new Set(all.map(({ prediction }) => prediction.id)).size).toBe(1)
      expect(await log(f.store, f.app)).toHaveLength(1)
      expect(f.rings).toBe(1)
    })

    test('without a key every request is a new one', async () => {
      await using f = await fixture(open)
      expect(new Set(await addMany(f.store, f.app, 3)).size).toBe(3)
    })
  })

  describe('get and getMany', () => {
    test('an unknown id and one of another app are both null', async () => {
      await using f = await fixture(open)
      const other = await newApp(f.store)
      const theirs = await add(f.store, other)
      expect(await f.store.get(f.app, theirs.id)).toBeNull()
      expect(await f.store.get(f.app, NOBODY)).toBeNull()
      expect(await f.store.get(f.app, '')).toBeNull()
      expect(await f.store.get(other, theirs.id)).toEqual(theirs)
    })

    test('many come in the order asked for, with null in the place of what is not this app’s', async () => {
      await using f = await fixture(open)
      const theirs = await add(f.store, await newApp(f.store))
      const a = await add(f.store, f.app)
      const b = await add(f.store, f.app)
      expect(await f.store.getMany(f.app, [b.id, NOBODY, a.id, theirs.id, b.id])).toEqual([
        b,
        null,
        a,
        null,
        b,
      ])
      expect(await f.store.getMany(f.app, [])).toEqual([])
    })
  })

  describe('list', () => {
    test('is newest first, in both directions, and the app’s own', async () => {
      await using f = await fixture(open)
      const ids = await addMany(f.store, f.app, 5)
      await addMany(f.store, await newApp(f.store), 5)
      const newest = ids.toReversed()
      const list = async (over: Partial<PageRequest>) =>
        idsOf((await f.store.list(f.app, page(over))).predictions)
      expect(await list({})).toEqual(newest)
      expect(await list({ backward: true })).toEqual(newest)
      expect(await list({ limit: 2 })).toEqual(newest.slice(0, 2))
      expect(await list({ limit: 2, backward: true })).toEqual(newest.slice(-2))
      expect(await list({ limit: 0 })).toEqual([])
    })

    test.each([
      ['forward', false],
      ['backward', true],
    ])('going %s page by page, rows of one millisecond come once each', async (_, backward) => {
      await using f = await fixture(open)
      for (let i = 0; i < 11; i++) await add(f.store, f.app, T + Math.floor(i / 4))
      const whole = (await f.store.list(f.app, page())).predictions
      expect(whole).toEqual(whole.toSorted(newestFirst))
      for (const limit of [1, 2, 3, 10, 11, 12]) {
        const pages = await walk(f.store, f.app, limit, backward)
        expect((backward ? pages.reverse() : pages).flat()).toEqual(whole)
      }
    })

    test('says whether there is more on either side', async () => {
      await using f = await fixture(open)
      const [c, b, a] = (await addMany(f.store, f.app, 3)).map((id, i) => ({ id, createdAt: T + i }))
      const more = async (over: Partial<PageRequest>) => {
        const { predictions, ...rest } = await f.store.list(f.app, page({ limit: 1, ...over }))
        return [idsOf(predictions), rest.hasPreviousPage, rest.hasNextPage]
      }
      expect(await more({})).toEqual([[a?.id], false, true])
      expect(await more({ after: a! })).toEqual([[b?.id], true, true])
      expect(await more({ after: b! })).toEqual([[c?.id], true, false])
      expect(await more({ backward: true })).toEqual([[c?.id], true, false])
      expect(await more({ backward: true, before: c! })).toEqual([[b?.id], true, true])
      expect(await more({ backward: true, before: b! })).toEqual([[a?.id], false, true])
      expect(await more({ limit: 3 })).toEqual([[a?.id, b?.id, c?.id], false, false])
    })

    test('between two places it is what lies strictly between them', async () => {
      await using f = await fixture(open)
      const rows = (await addMany(f.store, f.app, 5)).map((id, i) => ({ id, createdAt: T + i })).reverse()
      for (const backward of [false, true]) {
        const { predictions } = await f.store.list(
          f.app,
          page({ backward, after: rows[0]!, before: rows[4]! }),
        )
        expect(idsOf(predictions)).toEqual(idsOf(rows.slice(1, 4)))
      }
    })

    test('a filter means to the engine what it means to `matches`, page by page in both directions', async () => {
      await using f = await fixture(open)
      const tag = fc.oneof(
        fc.constantFrom('a', 'A', 'ä', '1', 'null', 'a"b', "a'b", '%', '[]', '\u{1f3ac}', ' a'),
        fc.string({ unit: 'binary', minLength: 1, maxLength: 2 }).filter(text => !text.includes('\0')),
      )
      const moment = fc.integer({ min: T - 1, max: T + 4 })
      const row = fc.record({
        createdAt: fc.integer({ min: T, max: T + 3 }),
        status: fc.constantFrom(...STATUSES),
        model: fc.constantFrom(...VIDEO_MODELS),
        tags: fc.uniqueArray(tag, { maxLength: 3 }),
      })
      const asked = fc.record(
        {
          /** Rows by their number; one that is too high is no row's. */
          ids: fc.array(fc.nat(9), { maxLength: 4 }),
          statuses: fc.subarray([...STATUSES]),
          models: fc.subarray([...VIDEO_MODELS]),
          tags: fc.array(tag, { maxLength: 3 }),
          createdAfter: moment,
          createdBefore: moment,
        },
        { requiredKeys: [] },
      )
      await fc.assert(
        fc.asyncProperty(
          fc.array(row, { maxLength: 8 }),
          fc.array(asked, { minLength: 2, maxLength: 4 }),
          fc.integer({ min: 1, max: 4 }),
          async (rows, filters, limit) => {
            const app = await newApp(f.store)
            const made: Prediction[] = []
            for (const { createdAt, status, ...over } of rows) {
              const { id } = await add(f.store, app, createdAt, over)
              if (status !== 'QUEUED') await f.store.change(id, () => ({ status }), createdAt)
              made.push((await f.store.get(app, id))!)
            }
            made.sort(newestFirst)
            // Chance alone seldom asks for what a row has, or for the very moment of one.
            const own = rows.flatMap(({ tags, createdAt }): typeof filters => [
              { tags },
              { createdAfter: createdAt },
              { createdBefore: createdAt },
            ])
            for (const { ids, ...rest } of [...filters, ...own]) {
              const filter: Filter = ids ? { ...rest, ids: ids.map(i => made[i]?.id ?? NOBODY) } : rest
              const expected = idsOf(made.filter(p => matches(filter, p)))
              expect(idsOf((await walk(f.store, app, limit, false, filter)).flat())).toEqual(expected)
              expect(idsOf((await walk(f.store, app, limit, true, filter)).reverse().flat())).toEqual(
                expected,
              )
            }
          },
        ),
        { numRuns: 30 },
      )
    })

    test('a tag with a NUL in it is found like any other', async () => {
      await using f = await fixture(open)
      const { id } = await add(f.store, f.app, T, { tags: ['a\0b'] })
      const found = async (tags: string[]) =>
        idsOf((await f.store.list(f.app, page({ filter: { tags } }))).predictions)
      expect(await found(['a\0b'])).toEqual([id])
      expect(await found(['a'])).toEqual([])
      expect(await found(['a\0c'])).toEqual([])
    })
  })

  describe('queuePositions', () => {
    test('count what waits before, of every app, oldest first and 1 for the next', async () => {
      await using f = await fixture(open)
      const other = await newApp(f.store)
      const theirs = await add(f.store, other, T)
      const first = await add(f.store, f.app, T + 1)
      const second = await add(f.store, f.app, T + 2)
      expect(await f.store.queuePositions(f.app, [second.id, first.id])).toEqual([3, 2])
      expect(await f.store.queuePositions(other, [theirs.id])).toEqual([1])
      expect(await f.store.queuePositions(f.app, [])).toEqual([])
    })

    test('rows of one millisecond have positions of their own, in the order they are claimed', async () => {
      await using f = await fixture(open)
      const ids: string[] = []
      for (let i = 0; i < 4; i++) ids.push((await add(f.store, f.app, T)).id)
      const positions = await f.store.queuePositions(f.app, ids)
      expect(positions.toSorted()).toEqual([1, 2, 3, 4])
      const claimed = idsOf(await submits(f.store, T))
      expect(claimed.map(id => positions[ids.indexOf(id)])).toEqual([1, 2, 3, 4])
    })

    test('are null for what does not wait and for what is not this app’s', async () => {
      await using f = await fixture(open)
      const theirs = await add(f.store, await newApp(f.store))
      await sendAll(f.store, T)
      const begun = await add(f.store, f.app, T + 1)
      await submits(f.store, T + 1)
      const canceled = await add(f.store, f.app, T + 2)
      await f.store.change(canceled.id, () => ({ status: 'CANCELED' }), T + 2)
      const waiting = await add(f.store, f.app, T + 3)
      const stranger = await add(f.store, await newApp(f.store), T + 4)
      expect(
        await f.store.queuePositions(f.app, [
          theirs.id,
          begun.id,
          canceled.id,
          waiting.id,
          stranger.id,
          NOBODY,
        ]),
      ).toEqual([null, null, null, 1, null, null])
    })
  })

  describe('usualDuration', () => {
    const finish = async (store: Store, appId: AppId, over: Partial<Draft>, at: number, ms: number) => {
      const { id } = await add(store, appId, at, over)
      const change: Change = { status: 'COMPLETED', submittedAt: at, finishedAt: at + ms }
      await store.change(id, () => change, at + ms)
    }

    test('is null for a model that has completed nothing', async () => {
      await using f = await fixture(open)
      const { id } = await add(f.store, f.app)
      await f.store.change(id, () => ({ status: 'FAILED', submittedAt: T, finishedAt: T + 9 }), T + 9)
      await finish(f.store, f.app, { model: 'WAN_2_2_I2V_PLUS_480P' }, T, 9)
      expect(await f.store.usualDuration('WAN_2_2_I2V_PLUS_1080P')).toBeNull()
    })

    test('is the median of a model’s completed jobs, over every app', async () => {
      await using f = await fixture(open)
      const other = await newApp(f.store)
      for (const [ms, appId] of [
        [90_000, f.app],
        [100, other],
        [7000, f.app],
      ] as const)
        await finish(f.store, appId, {}, T, ms)
      await finish(f.store, f.app, { model: 'WAN_2_2_I2V_PLUS_480P' }, T, 1)
      expect(await f.store.usualDuration('WAN_2_2_I2V_PLUS_1080P')).toBe(7000)
    })

    test('looks at the newest 101 and no further', async () => {
      await using f = await fixture(open)
      // From the oldest on: 60 fast ones, 51 slow ones, 50 fast ones. Of any 99 or 103 newest most are fast.
      for (let i = 0; i < 161; i++)
        await finish(f.store, f.app, {}, T + i * MINUTE, i < 60 || i >= 111 ? 1000 : 5000)
      expect(await f.store.usualDuration('WAN_2_2_I2V_PLUS_1080P')).toBe(5000)
    })
  })

  describe('change', () => {
    test('writes row and event together, then rings', async () => {
      await using f = await fixture(open)
      const { id } = await add(f.store, f.app)
      const job = await f.store.change(id, () => ({ status: 'PROCESSING', startedAt: T + 5 }), T + 5)
      expect(job).toMatchObject({ id, status: 'PROCESSING', startedAt: T + 5, updatedAt: T + 5 })
      const row = await f.store.get(f.app, id)
      expect(row).toMatchObject({ status: 'PROCESSING', startedAt: T + 5, updatedAt: T + 5, createdAt: T })
      expect((await log(f.store, f.app)).at(-1)).toEqual({
        seq: 2,
        type: 'STATUS_CHANGED',
        previousStatus: 'QUEUED',
        occurredAt: T + 5,
        prediction: row,
      })
      expect(f.rings).toBe(2)
    })

    test('is decided on the row as it is, not as it was when somebody read it', async () => {
      await using f = await fixture(open)
      const { id } = await add(f.store, f.app)
      const seen: string[] = []
      const step = (status: 'CREATED' | 'PROCESSING') =>
        f.store.change(
          id,
          job => {
            seen.push(job.status)
            return { status }
          },
          T,
        )
      await Promise.all([step('CREATED'), step('PROCESSING')])
      expect(seen).toEqual(['QUEUED', 'CREATED'])
    })

    test('what is no news changes nothing: no event, no ring', async () => {
      await using f = await fixture(open)
      const before = await add(f.store, f.app)
      expect(await f.store.change(before.id, () => null, T + 1)).toBeNull()
      expect(await f.store.get(f.app, before.id)).toEqual(before)
      expect(await log(f.store, f.app)).toHaveLength(1)
      expect(f.rings).toBe(1)
    })

    test('of a row that is not there is null, and nobody is asked', async () => {
      await using f = await fixture(open)
      const decide = vi.fn(() => ({ status: 'CREATED' as const }))
      expect(await f.store.change(NOBODY, decide, T)).toBeNull()
      expect(decide).not.toHaveBeenCalled()
    })

    test('a change that leaves the status alone is no event, and leaves updatedAt alone', async () => {
      await using f = await fixture(open)
      const { id } = await add(f.store, f.app)
      const job = await f.store.change(id, () => ({ dueAt: T + MINUTE, emptySince: T + 1 }), T + 1)
      expect(job).toMatchObject({ dueAt: T + MINUTE, emptySince: T + 1, updatedAt: T })
      await f.store.change(id, () => ({ status: 'QUEUED' }), T + 2)
      expect(await log(f.store, f.app)).toHaveLength(1)
    })

    test('a fence that is not the row’s own is refused, whichever side it is on', async () => {
      await using f = await fixture(open)
      const { id } = await add(f.store, f.app)
      const [{ fence } = {} as Job] = await submits(f.store, T)
      const decide = vi.fn(() => ({ status: 'CREATED' as const }))
      const before = await jobOf(f.store, id)
      for (const stale of [fence - 1, fence + 1])
        expect(await f.store.change(id, decide, T + 1, stale)).toBeNull()
      expect(decide).not.toHaveBeenCalled()
      expect(await jobOf(f.store, id)).toEqual(before)
      expect(f.rings).toBe(1)
      expect(await f.store.change(id, decide, T + 1, fence)).toMatchObject({ status: 'CREATED', fence })
    })

    test('a fence of 0 is a fence', async () => {
      await using f = await fixture(open)
      const { id } = await add(f.store, f.app)
      await submits(f.store, T)
      expect(await f.store.change(id, () => ({ status: 'CREATED' }), T, 0)).toBeNull()
    })

    test('an illegal transition throws, and leaves row, log, pause and bell untouched', async () => {
      await using f = await fixture(open)
      const { id } = await add(f.store, f.app)
      await f.store.change(id, () => ({ status: 'COMPLETED', finishedAt: T + 1 }), T + 1)
      const before = await jobOf(f.store, id)
      const change: Change = {
        status: 'PROCESSING',
        cost: 0,
        dueAt: 0,
        pause: { reason: 'account', until: T + HOUR },
      }
      await expect(f.store.change(id, () => change, T + 2)).rejects.toThrow(
        `illegal transition of ${id}: COMPLETED to PROCESSING`,
      )
      expect(await jobOf(f.store, id)).toEqual(before)
      expect(await log(f.store, f.app)).toHaveLength(2)
      expect(await f.store.paused()).toBeNull()
      expect(f.rings).toBe(2)
    })

    test('a throw in the decision leaves everything untouched', async () => {
      await using f = await fixture(open)
      const { id } = await add(f.store, f.app)
      const decide = () => {
        throw new Error('a bug')
      }
      await expect(f.store.change(id, decide, T)).rejects.toThrow('a bug')
      expect(await log(f.store, f.app)).toHaveLength(1)
      expect(f.rings).toBe(1)
      // The engine is in no transaction that was left open.
      expect(await f.store.change(id, () => ({ status: 'CREATED' }), T)).not.toBeNull()
    })
  })

  describe('claimSubmits', () => {
    test('gives the oldest first, and no more than asked for', async () => {
      await using f = await fixture(open)
      const late = await add(f.store, f.app, T + 2)
      const early = await add(f.store, await newApp(f.store), T)
      const middle = await add(f.store, f.app, T + 1)
      expect(await submits(f.store, T + 3, { limit: 0 })).toEqual([])
      expect(idsOf(await submits(f.store, T + 3, { limit: 2 }))).toEqual([early.id, middle.id])
      expect(idsOf(await submits(f.store, T + 3, { limit: 2 }))).toEqual([late.id])
      expect(await submits(f.store, T + 3)).toEqual([])
    })

    test('a claimed row is begun, under a higher fence and a lease; its status and the log say nothing of it', async () => {
      await using f = await fixture(open)
      const { id } = await add(f.store, f.app)
      const [job] = await submits(f.store, T + 7, { leaseUntil: T + 99 })
      const begun = { submission: 'begun', begunAt: T + 7, dueAt: T + 99, fence: 1, attempts: 1 }
      expect(job).toMatchObject({ id, status: 'QUEUED', submittedAt: null, updatedAt: T, ...begun })
      expect(await jobOf(f.store, id)).toEqual(job)
      expect(await log(f.store, f.app)).toHaveLength(1)
      expect(f.rings).toBe(1)
    })

    test('a begun row is never claimed for a POST again, however old its lease', async () => {
      await using f = await fixture(open)
      await add(f.store, f.app)
      expect(await submits(f.store, T)).toHaveLength(1)
      expect(await submits(f.store, T + 1000 * HOUR)).toEqual([])
    })

    test('a row that went back into the queue is claimed anew, with one more attempt and a new fence', async () => {
      await using f = await fixture(open)
      const { id } = await add(f.store, f.app)
      const [{ fence } = {} as Job] = await submits(f.store, T)
      await f.store.change(id, () => ({ submission: 'none', dueAt: T + 5 }), T + 1, fence)
      expect(await submits(f.store, T + 4)).toEqual([])
      const [again] = await submits(f.store, T + 5)
      expect(again).toMatchObject({ id, attempts: 2, fence: fence + 1, begunAt: T + 5 })
    })

    test('begun and accepted rows take up the account’s concurrency, ended ones do not', async () => {
      await using f = await fixture(open)
      await addMany(f.store, f.app, 6)
      const at = T + SECOND
      const claim = (concurrency: number) => submits(f.store, at, { concurrency })
      const [first, second] = await claim(2)
      expect(await claim(2)).toEqual([])
      expect(await claim(3)).toHaveLength(1)
      await f.store.change(first!.id, answered({ kind: 'accepted', upstreamId: 'u' }, at, at), at)
      expect(await claim(3)).toEqual([])
      await f.store.change(first!.id, observed({ status: 'processing' }, at, at), at)
      expect(await claim(3)).toEqual([])
      await f.store.change(first!.id, observed(COMPLETED, at, at), at)
      expect(await claim(3)).toHaveLength(1)
      await f.store.change(second!.id, answered({ kind: 'rejected' }, at, at), at)
      expect(await claim(3)).toHaveLength(1)
      expect(await claim(3)).toEqual([])
    })

    test('rows begun within the last minute take up the account’s rate, whatever became of them', async () => {
      await using f = await fixture(open)
      await addMany(f.store, f.app, 8)
      const at = T + SECOND
      const [first, second, third] = await submits(f.store, at, { perMinute: 3 })
      await f.store.change(first!.id, answered({ kind: 'accepted', upstreamId: 'u' }, at, at), at)
      await f.store.change(first!.id, observed(COMPLETED, at, at), at)
      await f.store.change(second!.id, answered({ kind: 'rejected' }, at, at), at)
      await f.store.change(third!.id, () => ({ submission: 'none' }), at)
      const claim = (now: number) => submits(f.store, now, { perMinute: 3 })
      expect(await claim(at)).toEqual([])
      expect(await claim(at + MINUTE - 1)).toEqual([])
      expect(await claim(at + MINUTE)).toHaveLength(3)
      expect(await claim(at + MINUTE + 1)).toEqual([])
      expect(await claim(at + 2 * MINUTE)).toHaveLength(3)
    })

    test('an account that is over its limits already gets nothing, not everything', async () => {
      await using f = await fixture(open)
      await addMany(f.store, f.app, 9)
      expect(await submits(f.store, T + 9, { limit: 4 })).toHaveLength(4)
      expect(await submits(f.store, T + 9, { concurrency: 2 })).toEqual([])
      expect(await submits(f.store, T + 9, { perMinute: 2 })).toEqual([])
      expect(await submits(f.store, T + 9, { concurrency: 5, perMinute: 2 })).toEqual([])
      expect(await submits(f.store, T + 9, { concurrency: 2, perMinute: 5 })).toEqual([])
    })

    test('the narrowest of the three limits holds, and null is none', async () => {
      await using f = await fixture(open)
      await addMany(f.store, f.app, 40)
      const claim = async (limit: number, concurrency: number | null, perMinute: number | null) =>
        (await submits(f.store, T + HOUR, { limit, concurrency, perMinute })).length
      expect(await claim(1, 10, 10)).toBe(1)
      expect(await claim(10, 3, 10)).toBe(2)
      expect(await claim(10, 10, 4)).toBe(1)
      expect(await claim(10, null, 5)).toBe(1)
      expect(await claim(10, 6, null)).toBe(1)
      expect(await claim(10, null, null)).toBe(10)
      expect(await claim(100, null, null)).toBe(24)
    })

    test('claims made at once never give the same row', async () => {
      await using f = await fixture(open)
      const ids = await addMany(f.store, f.app, 20)
      const claims = await Promise.all(
        Array.from({ length: 10 }, () => submits(f.store, T + HOUR, { limit: 3 })),
      )
      expect(claims.flatMap(idsOf).toSorted()).toEqual(ids.toSorted())
    })

    test('while submits are paused nothing is claimed; the moment they are resumed, it is', async () => {
      await using f = await fixture(open)
      const { id } = await add(f.store, f.app)
      await f.store.change(id, () => ({ dueAt: T, pause: { reason: 'throttled', until: T } }), T)
      expect(await submits(f.store, T + HOUR)).toEqual([])
      await f.store.resume((await f.store.paused())!.version)
      expect(await submits(f.store, T + HOUR)).toHaveLength(1)
    })
  })

  describe('claimPolls', () => {
    const polls = (store: Store, now: number, limit = 100) =>
      store.claimPolls({ now, leaseUntil: now + MINUTE, limit })

    test('gives what upstream has accepted and is due, the longest due first within the limit', async () => {
      await using f = await fixture(open)
      await addMany(f.store, f.app, 4)
      const [a, b, c, d] = await sendAll(f.store, T + SECOND)
      const due = [T + 40_000, T + 20_000, T + 30_000, T + 50_000]
      for (const [i, job] of [a, b, c, d].entries())
        await f.store.change(job!.id, () => ({ dueAt: due[i]! }), T + SECOND)
      await f.store.change(c!.id, () => ({ status: 'PROCESSING' }), T + SECOND)
      expect(await polls(f.store, T + 19_999)).toEqual([])
      expect(idsOf(await polls(f.store, T + 45_000, 2)).toSorted()).toEqual([b!.id, c!.id].toSorted())
      expect(idsOf(await polls(f.store, T + 45_000))).toEqual([a!.id])
    })

    test('gives nothing that waits, is begun, or has ended', async () => {
      await using f = await fixture(open)
      await add(f.store, f.app)
      const [done] = await sendAll(f.store, T)
      await f.store.change(done!.id, observed(COMPLETED, T, T), T)
      await add(f.store, f.app)
      const [unknown] = await submits(f.store, T)
      await f.store.change(unknown!.id, answered({ kind: 'unknown' }, T, T), T)
      await f.store.resume((await f.store.paused())!.version)
      await add(f.store, f.app)
      expect(await submits(f.store, T)).toHaveLength(1)
      await add(f.store, f.app)
      expect(await polls(f.store, T + 1000 * HOUR)).toEqual([])
    })

    test('a claimed row is due again after its lease, under a fence that refuses the first claimant', async () => {
      await using f = await fixture(open)
      const { id } = await add(f.store, f.app)
      await sendAll(f.store, T)
      const [first] = await polls(f.store, T)
      expect(first).toMatchObject({ id, dueAt: T + MINUTE, fence: 2 })
      expect(await polls(f.store, T + MINUTE - 1)).toEqual([])
      const [second] = await polls(f.store, T + MINUTE)
      expect(second).toMatchObject({ id, fence: 3 })
      const write = (fence: number) =>
        f.store.change(id, observed({ status: 'processing' }, T, T), T + MINUTE, fence)
      expect(await write(first!.fence)).toBeNull()
      expect(await f.store.get(f.app, id)).toMatchObject({ status: 'CREATED' })
      expect(await write(second!.fence)).toMatchObject({ status: 'PROCESSING' })
    })

    test('claims made at once never give the same row', async () => {
      await using f = await fixture(open)
      const ids = await addMany(f.store, f.app, 20)
      await sendAll(f.store, T + SECOND)
      const claims = await Promise.all(Array.from({ length: 10 }, () => polls(f.store, T + SECOND, 3)))
      expect(claims.flatMap(idsOf).toSorted()).toEqual(ids.toSorted())
    })

    test('goes on while submits are paused, and writes neither event nor ring', async () => {
      await using f = await fixture(open)
      const { id } = await add(f.store, f.app)
      await sendAll(f.store, T)
      await f.store.change(id, () => ({ dueAt: T, pause: { reason: 'account', until: T } }), T)
      const { rings } = f
      expect(await polls(f.store, T)).toHaveLength(1)
      expect(f.rings).toBe(rings)
      expect(await log(f.store, f.app)).toHaveLength(2)
    })
  })

  describe('claimAbandoned', () => {
    const abandoned = (store: Store, now: number, limit = 100) =>
      store.claimAbandoned({ now, leaseUntil: now + MINUTE, limit })

    test('gives begun rows alone, and those only once their lease is over', async () => {
      await using f = await fixture(open)
      await add(f.store, f.app, T)
      await sendAll(f.store, T)
      const { id } = await add(f.store, f.app, T)
      await submits(f.store, T, { leaseUntil: T + MINUTE })
      await add(f.store, f.app, T)
      expect(await abandoned(f.store, T + MINUTE - 1)).toEqual([])
      expect(await abandoned(f.store, T + MINUTE, 0)).toEqual([])
      const [job] = await abandoned(f.store, T + MINUTE)
      expect(job).toMatchObject({ id, submission: 'begun', fence: 2, dueAt: T + 2 * MINUTE })
      expect(await abandoned(f.store, T + 2 * MINUTE - 1)).toEqual([])
      expect(await abandoned(f.store, T + 2 * MINUTE)).toHaveLength(1)
    })

    test('the submitter that was thought dead is refused its late answer', async () => {
      await using f = await fixture(open)
      const { id } = await add(f.store, f.app)
      const [submitter] = await submits(f.store, T, { leaseUntil: T + MINUTE })
      await abandoned(f.store, T + MINUTE)
      const late = answered({ kind: 'accepted', upstreamId: 'u' }, T, T)
      expect(await f.store.change(id, late, T + MINUTE, submitter!.fence)).toBeNull()
      expect(await f.store.get(f.app, id)).toMatchObject({ status: 'QUEUED', upstreamId: null })
    })
  })

  describe('paused, claimProbe and resume', () => {
    const stop = async (f: { store: Store; app: AppId }, pause: Change['pause'], at: number) => {
      const { id } = await add(f.store, f.app, at)
      await f.store.change(id, () => ({ dueAt: at, pause: pause! }), at)
    }

    test('nothing is paused at first', async () => {
      await using f = await fixture(open)
      expect(await f.store.paused()).toBeNull()
      expect(await f.store.claimProbe(T + HOUR, () => 0)).toBeNull()
      expect(await f.store.resume(0)).toBe(false)
      expect(await f.store.resume(1)).toBe(false)
    })

    test('a pause on top of another has the newer reason, the longer wait and the first beginning', async () => {
      await using f = await fixture(open)
      await stop(f, { reason: 'account', until: T + HOUR }, T)
      const first = await f.store.paused()
      expect(first).toMatchObject({ reason: 'account', since: T, until: T + HOUR })
      await stop(f, { reason: 'unreachable', until: T + MINUTE }, T + 1)
      const second = await f.store.paused()
      expect(second).toMatchObject({ reason: 'unreachable', since: T, until: T + HOUR })
      await stop(f, { reason: 'throttled', until: T + 2 * HOUR }, T + 2)
      const third = await f.store.paused()
      expect(third).toMatchObject({ reason: 'throttled', since: T, until: T + 2 * HOUR })
      expect(new Set([first?.version, second?.version, third?.version]).size).toBe(3)
    })

    test('a probe is claimed once it is due, by one, and then put off', async () => {
      await using f = await fixture(open)
      await stop(f, { reason: 'unknown', until: T + SECOND }, T)
      const next = vi.fn(() => T + MINUTE)
      expect(await f.store.claimProbe(T + SECOND - 1, next)).toBeNull()
      expect(next).not.toHaveBeenCalled()
      const [probe, ...rest] = (
        await Promise.all([1, 2, 3].map(() => f.store.claimProbe(T + SECOND, next)))
      ).filter(claimed => claimed !== null)
      expect(rest).toEqual([])
      expect(probe).toMatchObject({ reason: 'unknown', since: T })
      expect(next).toHaveBeenCalledExactlyOnceWith(expect.objectContaining({ reason: 'unknown', since: T }))
      expect(await f.store.paused()).toEqual({ ...probe, until: T + MINUTE })
      expect(await f.store.claimProbe(T + MINUTE - 1, next)).toBeNull()
      expect(await f.store.claimProbe(T + MINUTE, next)).toMatchObject({ version: probe?.version })
    })

    test('resume ends the very pause that was probed, once, and rings', async () => {
      await using f = await fixture(open)
      await stop(f, { reason: 'unknown', until: T }, T)
      const { rings } = f
      const probe = await f.store.claimProbe(T, () => T + 1)
      expect(f.rings).toBe(rings)
      expect(await f.store.resume(probe!.version)).toBe(true)
      expect(await f.store.paused()).toBeNull()
      expect(f.rings).toBe(rings + 1)
      expect(await f.store.resume(probe!.version)).toBe(false)
      expect(f.rings).toBe(rings + 1)
    })

    test('resume of an older pause leaves the one that began since, and does not ring', async () => {
      await using f = await fixture(open)
      await stop(f, { reason: 'unknown', until: T }, T)
      const probe = await f.store.claimProbe(T, () => T + 1)
      await stop(f, { reason: 'account', until: T + 1 }, T + 1)
      const { rings } = f
      expect(await f.store.resume(probe!.version)).toBe(false)
      expect(await f.store.paused()).toMatchObject({ reason: 'account' })
      expect(f.rings).toBe(rings)
    })

    test('a pause after a resumed one begins anew, under a version never used before', async () => {
      await using f = await fixture(open)
      await stop(f, { reason: 'account', until: T + HOUR }, T)
      const { version } = (await f.store.paused())!
      await f.store.resume(version)
      await stop(f, { reason: 'unreachable', until: T + MINUTE }, T + 9)
      const next = await f.store.paused()
      expect(next).toMatchObject({ reason: 'unreachable', since: T + 9, until: T + MINUTE })
      expect(next?.version).toBeGreaterThan(version)
      expect(await f.store.resume(version)).toBe(false)
    })

    test('a change may be a pause and nothing else', async () => {
      await using f = await fixture(open)
      const { id } = await add(f.store, f.app)
      const pause = { reason: 'account', until: T + HOUR } as const
      expect(await f.store.change(id, () => ({ pause }), T)).toMatchObject({ id, status: 'QUEUED' })
      expect(await f.store.paused()).toMatchObject(pause)
    })

    test('pause and change are one: a refused fence pauses nothing', async () => {
      await using f = await fixture(open)
      const { id } = await add(f.store, f.app)
      await submits(f.store, T)
      const unknown = answered({ kind: 'unknown' }, T, T)
      await f.store.change(id, unknown, T, 0)
      expect(await f.store.paused()).toBeNull()
      await f.store.change(id, unknown, T, 1)
      expect(await f.store.paused()).toMatchObject({ reason: 'unknown', since: T })
    })
  })

  describe('events', () => {
    test('are numbered without gaps in the order of their commits, across apps and whatever failed between', async () => {
      await using f = await fixture(open)
      const other = await newApp(f.store)
      const expected: [AppId, string, string][] = []
      for (let i = 0; i < 5; i++) {
        for (const app of [f.app, other]) {
          const { prediction } = await f.store.create(draft(app), { key: `${i}`, fingerprint: '' }, T)
          await f.store.create(draft(app), { key: `${i}`, fingerprint: '' }, T)
          expected.push([app, prediction.id, 'QUEUED'])
        }
        await add(f.store, NOBODY as AppId).catch(() => {})
        for (const job of await sendAll(f.store, T)) expected.push([job.appId, job.id, 'CREATED'])
        const id = expected.at(-1)![1]
        await f.store.change(id, () => null, T)
        await f.store.change(id, () => ({ status: 'QUEUED' }), T).catch(() => {})
        await f.store.change(id, () => ({ status: 'FAILED' }), T)
        expected.push([other, id, 'FAILED'])
      }
      const told = [...(await log(f.store, f.app)), ...(await log(f.store, other))]
        .toSorted((a, b) => a.seq - b.seq)
        .map(({ seq, prediction: p }) => [seq, p.appId, p.id, p.status])
      expect(told).toEqual(expected.map((event, i) => [i + 1, ...event]))
      expect(await f.store.eventBounds()).toEqual({ head: expected.length, floor: 0 })
    })

    test('each has the prediction as it was right after it', async () => {
      await using f = await fixture(open)
      const states = [await add(f.store, f.app, T, { tags: ['t'], metadata: { m: 1 } })]
      const { id } = states[0]!
      const keep = async () => states.push((await f.store.get(f.app, id))!)
      await sendAll(f.store, T + 1)
      await keep()
      await f.store.change(id, observed({ status: 'processing' }, T + 2, T + 2), T + 2)
      await keep()
      await f.store.change(id, observed(COMPLETED, T + 3, T + 3), T + 3)
      await keep()
      const events = await log(f.store, f.app)
      expect(events.map(event => event.prediction)).toEqual(states)
      expect(events.map(event => event.previousStatus)).toEqual([null, 'QUEUED', 'CREATED', 'PROCESSING'])
      expect(events.map(event => event.occurredAt)).toEqual([T, T + 1, T + 2, T + 3])
      expect(states.map(state => state.status)).toEqual(['QUEUED', 'CREATED', 'PROCESSING', 'COMPLETED'])
      expect(states[3]?.outputs).toHaveLength(1)
    })

    test('after a place come the newer ones, the app’s own, in order; `through` says how far that was', async () => {
      await using f = await fixture(open)
      const other = await newApp(f.store)
      for (let i = 0; i < 5; i++) for (const app of [f.app, other]) await add(f.store, app)
      // The app's own are 1, 3, 5, 7 and 9 of ten.
      const ask = async (after: number, limit: number) => {
        const { events, ...rest } = await f.store.eventsAfter({ appId: f.app, after, limit })
        return { seqs: events.map(event => event.seq), ...rest }
      }
      expect(await ask(0, 100)).toEqual({ seqs: [1, 3, 5, 7, 9], through: 10, floor: 0 })
      expect(await ask(0, 2)).toEqual({ seqs: [1, 3], through: 3, floor: 0 })
      expect(await ask(3, 2)).toEqual({ seqs: [5, 7], through: 7, floor: 0 })
      expect(await ask(4, 2)).toEqual({ seqs: [5, 7], through: 7, floor: 0 })
      expect(await ask(7, 2)).toEqual({ seqs: [9], through: 10, floor: 0 })
      expect(await ask(9, 2)).toEqual({ seqs: [], through: 10, floor: 0 })
      expect(await ask(10, 2)).toEqual({ seqs: [], through: 10, floor: 0 })
    })

    test('an app without events hears of nobody else’s, and still how far the log goes', async () => {
      await using f = await fixture(open)
      await addMany(f.store, f.app, 3)
      const appId = await newApp(f.store)
      expect(await f.store.eventsAfter({ appId, after: 0, limit: 10 })).toEqual({
        events: [],
        through: 3,
        floor: 0,
      })
    })

    test('of one prediction are its own alone, and only for its app', async () => {
      await using f = await fixture(open)
      const [a, b] = await addMany(f.store, f.app, 2)
      await sendAll(f.store, T + SECOND)
      const ask = async (appId: AppId, predictionId: string, after = 0, limit = 10) => {
        const { events, through } = await f.store.eventsAfter({ appId, after, limit, predictionId })
        return [events.map(event => [event.seq, event.prediction.id]), through]
      }
      expect(await ask(f.app, a!)).toEqual([
        [
          [1, a],
          [3, a],
        ],
        4,
      ])
      expect(await ask(f.app, b!, 2)).toEqual([[[4, b]], 4])
      expect(await ask(f.app, b!, 0, 1)).toEqual([[[2, b]], 2])
      expect(await ask(f.app, NOBODY)).toEqual([[], 4])
      expect(await ask(await newApp(f.store), a!)).toEqual([[], 4])
    })

    test('a snapshot and what follows its head are the whole story', async () => {
      await using f = await fixture(open)
      const { id } = await add(f.store, f.app)
      await add(f.store, await newApp(f.store))
      const snapshot = await f.store.snapshot(f.app, id)
      expect(snapshot).toEqual({ prediction: await f.store.get(f.app, id), head: 2 })
      await f.store.change(id, () => ({ status: 'CREATED' }), T)
      const { events } = await f.store.eventsAfter({
        appId: f.app,
        after: snapshot!.head,
        limit: 10,
        predictionId: id,
      })
      expect(events.map(event => event.prediction.status)).toEqual(['CREATED'])
    })

    test('there is no snapshot of what is not this app’s', async () => {
      await using f = await fixture(open)
      const { id } = await add(f.store, await newApp(f.store))
      expect(await f.store.snapshot(f.app, id)).toBeNull()
      expect(await f.store.snapshot(f.app, NOBODY)).toBeNull()
    })

    test('an empty log begins and ends at 0', async () => {
      await using f = await fixture(open)
      expect(await f.store.eventBounds()).toEqual({ head: 0, floor: 0 })
      expect(await f.store.eventsAfter({ appId: f.app, after: 0, limit: 1 })).toEqual({
        events: [],
        through: 0,
        floor: 0,
      })
    })
  })

  describe('pruneEvents', () => {
    test('takes the oldest, at most as many as it may, and only those from before', async () => {
      await using f = await fixture(open)
      await addMany(f.store, f.app, 6)
      expect(await f.store.pruneEvents(T, 100)).toBe(0)
      expect(await f.store.eventBounds()).toEqual({ head: 6, floor: 0 })
      expect(await f.store.pruneEvents(T + 4, 3)).toBe(3)
      expect(await f.store.eventBounds()).toEqual({ head: 6, floor: 3 })
      expect(await f.store.pruneEvents(T + 4, 3)).toBe(1)
      expect(await f.store.pruneEvents(T + 4, 3)).toBe(0)
      expect(await f.store.eventsAfter({ appId: f.app, after: 0, limit: 100 })).toMatchObject({
        events: [{ seq: 5 }, { seq: 6 }],
        through: 6,
        floor: 4,
      })
      expect(await f.store.pruneEvents(T + HOUR, 0)).toBe(0)
    })

    test('a newer event that stands before older ones is kept, and so are they', async () => {
      await using f = await fixture(open)
      for (const at of [T, T + HOUR, T + 1, T + 2]) await add(f.store, f.app, at)
      expect(await f.store.pruneEvents(T + MINUTE, 100)).toBe(1)
      expect((await log(f.store, f.app)).map(event => event.seq)).toEqual([2, 3, 4])
    })

    test('after a full prune the numbers go on, and the predictions are still there', async () => {
      await using f = await fixture(open)
      const ids = await addMany(f.store, f.app, 4)
      expect(await f.store.pruneEvents(T + HOUR, 100)).toBe(4)
      expect(await f.store.eventBounds()).toEqual({ head: 4, floor: 4 })
      expect(await f.store.eventsAfter({ appId: f.app, after: 4, limit: 1 })).toEqual({
        events: [],
        through: 4,
        floor: 4,
      })
      expect(await f.store.getMany(f.app, ids)).not.toContain(null)
      await add(f.store, f.app)
      expect((await log(f.store, f.app)).map(event => event.seq)).toEqual([5])
      expect(await f.store.eventBounds()).toEqual({ head: 5, floor: 4 })
    })
  })

  describe('apps, keys and usage', () => {
    test('an app is found by its id and by its name, with no limits of its own at first', async () => {
      await using f = await fixture(open)
      const made = await f.store.createApp('studio', T)
      expect(made).toEqual({
        id: expect.stringMatching(/^[\da-f-]{36}$/),
        name: 'studio',
        limits: {
          maxInFlight: null,
          maxQueued: null,
          submitsPerMinute: null,
          monthlyBudget: null,
          weight: 1,
        },
      })
      expect(await f.store.app(made!.id)).toEqual(made)
      expect(await f.store.appNamed('studio')).toEqual(made)
      expect(await f.store.app(NOBODY as AppId)).toBeNull()
      expect(await f.store.appNamed('nobody')).toBeNull()
      expect(await f.store.countApps()).toBe(2)
    })

    test('a name is taken once', async () => {
      await using f = await fixture(open)
      await f.store.createApp('studio', T)
      expect(await f.store.createApp('studio', T)).toBeNull()
      expect(await f.store.createApp('Studio', T)).not.toBeNull()
      expect(await f.store.countApps()).toBe(3)
    })

    test('a key is found by its prefix, with its app; an app may have several', async () => {
      await using f = await fixture(open)
      const one = { prefix: 'rsh_aaaaaaaa', hash: 'h1', expiresAt: null }
      const two = { prefix: 'rsh_bbbbbbbb', hash: 'h2', expiresAt: T + 1 }
      await f.store.addKey(f.app, one, T)
      await f.store.addKey(f.app, two, T)
      expect(await f.store.findKey(one.prefix)).toMatchObject({ ...one, appId: f.app })
      expect(await f.store.findKey(two.prefix)).toMatchObject({ ...two, appId: f.app })
      expect(await f.store.findKey('rsh_cccccccc')).toBeNull()
      expect(await f.store.findKey('rsh_aaaaaaa')).toBeNull()
    })

    test('a prefix belongs to one key, and a key to an app that exists', async () => {
      await using f = await fixture(open)
      const key = { prefix: 'rsh_aaaaaaaa', hash: 'h1', expiresAt: null }
      await f.store.addKey(f.app, key, T)
      await expect(f.store.addKey(await newApp(f.store), { ...key, hash: 'h2' }, T)).rejects.toThrow()
      await expect(f.store.addKey(NOBODY as AppId, { ...key, prefix: 'rsh_b' }, T)).rejects.toThrow()
      expect(await f.store.findKey(key.prefix)).toMatchObject({ hash: 'h1', appId: f.app })
    })

    test('pruning takes the keys that have expired, and none that lasts', async () => {
      await using f = await fixture(open)
      for (const [prefix, expiresAt] of [
        ['old', T - 1],
        ['now', T],
        ['new', T + 1],
        ['ever', null],
      ] as const)
        await f.store.addKey(f.app, { prefix, hash: prefix, expiresAt }, T - HOUR)
      expect(await f.store.pruneKeys(T)).toBe(1)
      expect(await f.store.pruneKeys(T)).toBe(0)
      expect(await f.store.findKey('old')).toBeNull()
      for (const prefix of ['now', 'new', 'ever']) expect(await f.store.findKey(prefix)).not.toBeNull()
    })

    test('usage counts what is in flight, what waits and what was spent since, of the app alone', async () => {
      await using f = await fixture(open)
      expect(await f.store.usage(f.app, T)).toEqual({ inFlight: 0, queued: 0, spent: 0 })
      await add(f.store, await newApp(f.store), T)
      const before = await add(f.store, f.app, T - 1)
      const [a, b, c] = await addMany(f.store, f.app, 3)
      await sendAll(f.store, T + SECOND)
      await f.store.change(b!, () => ({ status: 'PROCESSING' }), T + SECOND)
      await f.store.change(c!, () => ({ status: 'FAILED', cost: 0 }), T + SECOND)
      await add(f.store, f.app, T + SECOND)
      await submits(f.store, T + SECOND)
      await addMany(f.store, f.app, 2, T + MINUTE)
      // In flight: the one from before, a, b, and the one begun; two wait.
      expect(await f.store.usage(f.app, T)).toEqual({ inFlight: 4, queued: 2, spent: 5 * PRICE })
      expect(await f.store.usage(f.app, T - 1)).toMatchObject({ spent: 6 * PRICE })
      expect(await f.store.usage(f.app, T + HOUR)).toMatchObject({ inFlight: 4, queued: 2, spent: 0 })
      expect(await f.store.getMany(f.app, [before.id, a!])).toMatchObject([
        { status: 'CREATED' },
        { status: 'CREATED' },
      ])
    })
  })

  test('the first upstream a database is bound to is its upstream', async () => {
    await using f = await fixture(open)
    expect(await f.store.bindUpstream('https://api.wavespeed.ai')).toBe('https://api.wavespeed.ai')
    expect(await f.store.bindUpstream('the simulator')).toBe('https://api.wavespeed.ai')
  })

  test('every database has an epoch and a cursor key of its own', async () => {
    await using a = await fixture(open)
    await using b = await fixture(open)
    expect(a.store.epoch).toHaveLength(8)
    expect(a.store.cursorKey).toHaveLength(16)
    expect(a.store.epoch).not.toEqual(b.store.epoch)
    expect(a.store.cursorKey).not.toEqual(b.store.cursorKey)
  })

  test('a closed store does not answer', async () => {
    const f = await fixture(open)
    await f.store.ping()
    await f.store.close()
    await expect(f.store.ping()).rejects.toThrow()
  })
})

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
      list: await store.list(app, page()),
      events: await store.eventsAfter({ appId: app, after: 0, limit: 100 }),
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
    expect((await store.list(app, page())).predictions).toEqual([before])
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
    expect(await store.get(app, before.id)).toEqual(before)
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

  describe('the hot questions read an index, never the table', () => {
    const asked = { now: T, leaseUntil: T, limit: 3 }
    const place = { createdAt: T, id: NOBODY }
    const app = NOBODY as AppId
    test.each<[string, (store: Store) => Promise<unknown>, RegExp[]]>([
      [
        'claimSubmits',
        store => store.claimSubmits({ ...asked, concurrency: 3, perMinute: 5 }),
        [/predictions_queue/, /predictions_begun/, /predictions_in_flight/, /posts_by_moment/],
      ],
      ['claimPolls', store => store.claimPolls(asked), [/predictions_in_flight \(due_at<\?\)/]],
      ['claimAbandoned', store => store.claimAbandoned(asked), [/predictions_begun \(due_at<\?\)/]],
      ['queuePositions', store => store.queuePositions(app, [NOBODY]), [/ahead USING .*predictions_queue/]],
      [
        'usualDuration',
        store => store.usualDuration('WAN_2_2_I2V_PLUS_1080P'),
        [/predictions_finished \(model=\?\)/],
      ],
      ['list', store => store.list(app, page({ after: place })), [/predictions_by_app \(app_id=\? AND/]],
      [
        'eventsAfter',
        store => store.eventsAfter({ appId: app, after: 0, limit: 9 }),
        [/events_by_app \(app_id=\? AND/],
      ],
      [
        'eventsAfter of one prediction',
        store => store.eventsAfter({ appId: app, after: 0, limit: 9, predictionId: NOBODY }),
        [/events_by_prediction \(prediction_id=\? AND/],
      ],
    ])('%s', async (_, ask, indices) => {
      await using f = await folder()
      const store = f.open()
      const prepare = vi.spyOn(Database.prototype as Database.Database, 'prepare')
      let statements: string[]
      try {
        await ask(store)
        statements = prepare.mock.calls.map(([text]) => text).filter(text => text.includes('predictions'))
      } finally {
        prepare.mockRestore()
      }
      const plan = beside(f.file, client =>
        statements.flatMap(text =>
          client
            .prepare<unknown[], { detail: string }>(`explain query plan ${text}`)
            .all(Array.from(text.matchAll(/\?/g), () => 1))
            .map(step => step.detail),
        ),
      )
      for (const index of indices) expect(plan.join('\n')).toMatch(index)
      expect(plan.filter(step => /^SCAN (?!pause|.*INDEX)|TEMP B-TREE/.test(step))).toEqual([])
    })
  })
})
