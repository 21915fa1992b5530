import fc from 'fast-check'
import { describe, expect, test, vi } from 'vitest'
import { fullScope } from '../../src/domain/access-scope.ts'
import { VIDEO_MODELS } from '../../src/domain/models.ts'
import {
  type AppId,
  type Draft,
  type Job,
  type Prediction,
  STATUSES,
  type StateChange,
} from '../../src/domain/prediction.ts'
import { type Filter, matchesFilter } from '../../src/domain/prediction-filter.ts'
import type { PageRequest, Store } from '../../src/store/store.ts'
import { ENGINES } from '../support/engines.ts'
import {
  addPrediction,
  addPredictions,
  claimReadySubmits,
  createPrediction,
  draft,
  eventsOf,
  fixture,
  HOUR,
  idsOf,
  jobOf,
  listPages,
  MINUTE,
  newApp,
  newestFirst,
  PRICE,
  pageRequest,
  SECOND,
  submitAll,
  T,
  UNKNOWN_ID,
} from '../support/store.ts'

describe.each(ENGINES)('%s', (_, { open }) => {
  describe('create', () => {
    test('a prediction is queued as requested, with its event and one notification', async () => {
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
        retryOf: UNKNOWN_ID,
      })
      const { kind, prediction } = await createPrediction(f.store, asked, null, T)
      const { cost: _cost, ...rest } = asked
      expect(kind).toBe('created')
      expect(prediction).toEqual({
        ...rest,
        id: expect.stringMatching(/^[\da-f-]{36}$/),
        version: 1,
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
      expect(await f.store.get(fullScope(f.app), prediction.id)).toEqual(prediction)
      expect(await eventsOf(f.store, f.app)).toEqual([
        { seq: 1, mark: expect.any(Number), type: 'QUEUED', previousStatus: null, occurredAt: T, prediction },
      ])
      expect(f.notifications).toBe(1)
      expect(await jobOf(f.store, prediction.id)).toMatchObject({
        submission: 'none',
        fence: 0,
        submitAttempts: 0,
        submitStartedAt: null,
        completedWithoutOutputSince: null,
      })
    })

    test.each([[null], [false], [0], [''], ['text'], [[]], [{}], [{ a: [null, 1.5] }]])(
      'metadata %j is returned as it was given',
      async metadata => {
        await using f = await fixture(open)
        const { id } = await addPrediction(f.store, f.app, T, { metadata })
        expect((await f.store.get(fullScope(f.app), id))?.metadata).toEqual(metadata)
        expect((await eventsOf(f.store, f.app))[0]?.prediction.metadata).toEqual(metadata)
      },
    )

    test('throws for an app that does not exist, and writes nothing', async () => {
      await using f = await fixture(open)
      await expect(addPrediction(f.store, UNKNOWN_ID as AppId)).rejects.toThrow()
      expect(f.notifications).toBe(0)
      expect(await f.store.eventRange()).toMatchObject({ head: 0, prunedUpTo: 0 })
    })
  })

  describe('idempotency', () => {
    const once = { restrictionKey: '', key: 'k', fingerprint: 'a' }

    test('the same key and fingerprint are the same prediction: no row, no event, no notification', async () => {
      await using f = await fixture(open)
      const first = await createPrediction(f.store, draft(f.app), once, T)
      const second = await createPrediction(f.store, draft(f.app), once, T + SECOND)
      expect(second).toEqual({ kind: 'repeated', prediction: first.prediction })
      expect(await eventsOf(f.store, f.app)).toHaveLength(1)
      expect(f.notifications).toBe(1)
    })

    test('a repetition returns the prediction in its present state', async () => {
      await using f = await fixture(open)
      const { prediction } = await createPrediction(f.store, draft(f.app), once, T)
      await f.store.change(prediction.id, () => ({ status: 'CANCELED' }), T + 1)
      const { prediction: again } = await createPrediction(f.store, draft(f.app), once, T + 2)
      expect(again).toMatchObject({ id: prediction.id, status: 'CANCELED' })
    })

    test('the same key with another fingerprint is a conflict with the prediction that has it', async () => {
      await using f = await fixture(open)
      const { prediction } = await createPrediction(f.store, draft(f.app), once, T)
      const other = await createPrediction(f.store, draft(f.app), { ...once, fingerprint: 'b' }, T)
      expect(other).toEqual({ kind: 'conflict', prediction })
      expect(await eventsOf(f.store, f.app)).toHaveLength(1)
      expect(f.notifications).toBe(1)
    })

    test('a key is unique per app', async () => {
      await using f = await fixture(open)
      const first = await createPrediction(f.store, draft(f.app), once, T)
      const second = await createPrediction(f.store, draft(await newApp(f.store)), once, T)
      expect(second.kind).toBe('created')
      expect(second.prediction.id).not.toBe(first.prediction.id)
    })

    test('a key is taken for 24 hours and then free, for either fingerprint', async () => {
      await using f = await fixture(open)
      const first = await createPrediction(f.store, draft(f.app), once, T)
      expect((await createPrediction(f.store, draft(f.app), once, T + 24 * HOUR - 1)).kind).toBe('repeated')
      const next = await createPrediction(f.store, draft(f.app), { ...once, fingerprint: 'b' }, T + 24 * HOUR)
      expect(next.kind).toBe('created')
      expect(next.prediction.id).not.toBe(first.prediction.id)
      // The new prediction has the key now, for its own 24 hours.
      expect((await createPrediction(f.store, draft(f.app), once, T + 25 * HOUR)).kind).toBe('conflict')
      expect(await f.store.get(fullScope(f.app), first.prediction.id)).toEqual({
        ...first.prediction,
        version: 2,
      })
    })

    test('fifty concurrent requests with one key are one row and one event', async () => {
      await using f = await fixture(open)
      const all = await Promise.all(
        Array.from({ length: 50 }, () => createPrediction(f.store, draft(f.app), once, T)),
      )
      expect(all.filter(({ kind }) => kind === 'created')).toHaveLength(1)
      expect(all.filter(({ kind }) => kind === 'repeated')).toHaveLength(49)
      expect(new Set(all.map(({ prediction }) => prediction.id)).size).toBe(1)
      expect(await eventsOf(f.store, f.app)).toHaveLength(1)
      expect(f.notifications).toBe(1)
    })

    test('without a key every request is a new one', async () => {
      await using f = await fixture(open)
      expect(new Set(await addPredictions(f.store, f.app, 3)).size).toBe(3)
    })
  })

  describe('get and getMany', () => {
    test('an unknown id and an id of another app are both null', async () => {
      await using f = await fixture(open)
      const other = await newApp(f.store)
      const theirs = await addPrediction(f.store, other)
      expect(await f.store.get(fullScope(f.app), theirs.id)).toBeNull()
      expect(await f.store.get(fullScope(f.app), UNKNOWN_ID)).toBeNull()
      expect(await f.store.get(fullScope(f.app), '')).toBeNull()
      expect(await f.store.get(fullScope(other), theirs.id)).toEqual(theirs)
    })

    test('getMany keeps the order of the ids, with null for those of another app', async () => {
      await using f = await fixture(open)
      const theirs = await addPrediction(f.store, await newApp(f.store))
      const a = await addPrediction(f.store, f.app)
      const b = await addPrediction(f.store, f.app)
      expect(await f.store.getMany(fullScope(f.app), [b.id, UNKNOWN_ID, a.id, theirs.id, b.id])).toEqual([
        b,
        null,
        a,
        null,
        b,
      ])
      expect(await f.store.getMany(fullScope(f.app), [])).toEqual([])
    })
  })

  describe('list', () => {
    test('is newest first, in both directions, and only the app’s', async () => {
      await using f = await fixture(open)
      const ids = await addPredictions(f.store, f.app, 5)
      await addPredictions(f.store, await newApp(f.store), 5)
      const newest = ids.toReversed()
      const list = async (over: Partial<PageRequest>) =>
        idsOf((await f.store.list(fullScope(f.app), pageRequest(over))).predictions)
      expect(await list({})).toEqual(newest)
      expect(await list({ backward: true })).toEqual(newest)
      expect(await list({ limit: 2 })).toEqual(newest.slice(0, 2))
      expect(await list({ limit: 2, backward: true })).toEqual(newest.slice(-2))
      expect(await list({ limit: 0 })).toEqual([])
    })

    test.each([
      ['forward', false],
      ['backward', true],
    ])('%s page by page, rows of one millisecond come once each', async (_, backward) => {
      await using f = await fixture(open)
      for (let i = 0; i < 11; i++) await addPrediction(f.store, f.app, T + Math.floor(i / 4))
      const whole = (await f.store.list(fullScope(f.app), pageRequest())).predictions
      expect(whole).toEqual(whole.toSorted(newestFirst))
      for (const limit of [1, 2, 3, 10, 11, 12]) {
        const pages = await listPages(f.store, f.app, limit, backward)
        expect((backward ? pages.reverse() : pages).flat()).toEqual(whole)
      }
    })

    test('reports whether there is more on either side', async () => {
      await using f = await fixture(open)
      const [c, b, a] = (await addPredictions(f.store, f.app, 3)).map((id, i) => ({ id, createdAt: T + i }))
      const more = async (over: Partial<PageRequest>) => {
        const { predictions, ...rest } = await f.store.list(
          fullScope(f.app),
          pageRequest({ limit: 1, ...over }),
        )
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

    test('between two positions it has the rows strictly between them', async () => {
      await using f = await fixture(open)
      const rows = (await addPredictions(f.store, f.app, 5))
        .map((id, i) => ({ id, createdAt: T + i }))
        .reverse()
      for (const backward of [false, true]) {
        const { predictions } = await f.store.list(
          fullScope(f.app),
          pageRequest({ backward, after: rows[0]!, before: rows[4]! }),
        )
        expect(idsOf(predictions)).toEqual(idsOf(rows.slice(1, 4)))
      }
    })

    test('a filter means to the engine what it means to `matchesFilter`, page by page in both directions', async () => {
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
          /** Rows by their number; a number that is too high stands for an unknown id. */
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
              const { id } = await addPrediction(f.store, app, createdAt, over)
              if (status !== 'QUEUED') await f.store.change(id, () => ({ status }), createdAt)
              made.push((await f.store.get(fullScope(app), id))!)
            }
            made.sort(newestFirst)
            // Random values alone seldom equal a value or the time of a row.
            const own = rows.flatMap(({ tags, createdAt }): typeof filters => [
              { tags },
              { createdAfter: createdAt },
              { createdBefore: createdAt },
            ])
            for (const { ids, ...rest } of [...filters, ...own]) {
              const filter: Filter = ids ? { ...rest, ids: ids.map(i => made[i]?.id ?? UNKNOWN_ID) } : rest
              const expected = idsOf(made.filter(p => matchesFilter(filter, p)))
              expect(idsOf((await listPages(f.store, app, limit, false, filter)).flat())).toEqual(expected)
              expect(idsOf((await listPages(f.store, app, limit, true, filter)).reverse().flat())).toEqual(
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
      const { id } = await addPrediction(f.store, f.app, T, { tags: ['a\0b'] })
      const found = async (tags: string[]) =>
        idsOf((await f.store.list(fullScope(f.app), pageRequest({ filter: { tags } }))).predictions)
      expect(await found(['a\0b'])).toEqual([id])
      expect(await found(['a'])).toEqual([])
      expect(await found(['a\0c'])).toEqual([])
    })
  })

  describe('queuePositions', () => {
    test('count the jobs of every app that are sent before; 1 is next', async () => {
      await using f = await fixture(open)
      const other = await newApp(f.store)
      const theirs = await addPrediction(f.store, other, T)
      const first = await addPrediction(f.store, f.app, T + 1)
      const second = await addPrediction(f.store, f.app, T + 2)
      expect(await f.store.queuePositions(f.app, [second.id, first.id])).toEqual([3, 2])
      expect(await f.store.queuePositions(other, [theirs.id])).toEqual([1])
      expect(await f.store.queuePositions(f.app, [])).toEqual([])
    })

    test('rows of one millisecond have different positions, in the order they are claimed', async () => {
      await using f = await fixture(open)
      const ids: string[] = []
      for (let i = 0; i < 4; i++) ids.push((await addPrediction(f.store, f.app, T)).id)
      const positions = await f.store.queuePositions(f.app, ids)
      expect(positions.toSorted()).toEqual([1, 2, 3, 4])
      const claimed = idsOf(await claimReadySubmits(f.store, T))
      expect(claimed.map(id => positions[ids.indexOf(id)])).toEqual([1, 2, 3, 4])
    })

    test('are null for rows that do not wait and for rows of another app', async () => {
      await using f = await fixture(open)
      const theirs = await addPrediction(f.store, await newApp(f.store))
      await submitAll(f.store, T)
      const begun = await addPrediction(f.store, f.app, T + 1)
      await claimReadySubmits(f.store, T + 1)
      const canceled = await addPrediction(f.store, f.app, T + 2)
      await f.store.change(canceled.id, () => ({ status: 'CANCELED' }), T + 2)
      const waiting = await addPrediction(f.store, f.app, T + 3)
      const stranger = await addPrediction(f.store, await newApp(f.store), T + 4)
      expect(
        await f.store.queuePositions(f.app, [
          theirs.id,
          begun.id,
          canceled.id,
          waiting.id,
          stranger.id,
          UNKNOWN_ID,
        ]),
        // The other app has nothing in flight: it comes first.
      ).toEqual([null, null, null, 2, null, null])
    })
  })

  describe('medianDuration', () => {
    const finish = async (store: Store, appId: AppId, over: Partial<Draft>, at: number, ms: number) => {
      const { id } = await addPrediction(store, appId, at, over)
      const change: StateChange = { status: 'COMPLETED', submittedAt: at, finishedAt: at + ms }
      await store.change(id, () => change, at + ms)
    }

    test('is null for a model without completed jobs', async () => {
      await using f = await fixture(open)
      const { id } = await addPrediction(f.store, f.app)
      await f.store.change(id, () => ({ status: 'FAILED', submittedAt: T, finishedAt: T + 9 }), T + 9)
      await finish(f.store, f.app, { model: 'WAN_2_2_I2V_PLUS_480P' }, T, 9)
      expect(await f.store.medianDuration('WAN_2_2_I2V_PLUS_1080P')).toBeNull()
    })

    test('is the median of a model’s completed jobs, of all apps', async () => {
      await using f = await fixture(open)
      const other = await newApp(f.store)
      for (const [ms, appId] of [
        [90_000, f.app],
        [100, other],
        [7000, f.app],
      ] as const)
        await finish(f.store, appId, {}, T, ms)
      await finish(f.store, f.app, { model: 'WAN_2_2_I2V_PLUS_480P' }, T, 1)
      expect(await f.store.medianDuration('WAN_2_2_I2V_PLUS_1080P')).toBe(7000)
    })

    test('reads only the newest 101', async () => {
      await using f = await fixture(open)
      // Oldest first: 60 fast ones, 51 slow ones, 50 fast ones. Of the newest 99 or 103 most are fast.
      for (let i = 0; i < 161; i++)
        await finish(f.store, f.app, {}, T + i * MINUTE, i < 60 || i >= 111 ? 1000 : 5000)
      expect(await f.store.medianDuration('WAN_2_2_I2V_PLUS_1080P')).toBe(5000)
    })
  })

  describe('change', () => {
    test('writes row and event together, then notifies', async () => {
      await using f = await fixture(open)
      const { id } = await addPrediction(f.store, f.app)
      const job = await f.store.change(id, () => ({ status: 'PROCESSING', startedAt: T + 5 }), T + 5)
      expect(job).toMatchObject({ id, status: 'PROCESSING', startedAt: T + 5, updatedAt: T + 5 })
      const row = await f.store.get(fullScope(f.app), id)
      expect(row).toMatchObject({ status: 'PROCESSING', startedAt: T + 5, updatedAt: T + 5, createdAt: T })
      expect((await eventsOf(f.store, f.app)).at(-1)).toEqual({
        seq: 2,
        mark: expect.any(Number),
        type: 'STATUS_CHANGED',
        previousStatus: 'QUEUED',
        occurredAt: T + 5,
        prediction: row,
      })
      expect(f.notifications).toBe(2)
    })

    test('is decided on the row as it is, not as it was when the caller read it', async () => {
      await using f = await fixture(open)
      const { id } = await addPrediction(f.store, f.app)
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

    test('a null transition changes nothing: no event, no notification', async () => {
      await using f = await fixture(open)
      const before = await addPrediction(f.store, f.app)
      expect(await f.store.change(before.id, () => null, T + 1)).toBeNull()
      expect(await f.store.get(fullScope(f.app), before.id)).toEqual(before)
      expect(await eventsOf(f.store, f.app)).toHaveLength(1)
      expect(f.notifications).toBe(1)
    })

    test('of a missing row is null, and the transition is not called', async () => {
      await using f = await fixture(open)
      const decide = vi.fn(() => ({ status: 'CREATED' as const }))
      expect(await f.store.change(UNKNOWN_ID, decide, T)).toBeNull()
      expect(decide).not.toHaveBeenCalled()
    })

    test('a change that keeps the status writes no event and keeps updatedAt', async () => {
      await using f = await fixture(open)
      const { id } = await addPrediction(f.store, f.app)
      const job = await f.store.change(
        id,
        () => ({ dueAt: T + MINUTE, completedWithoutOutputSince: T + 1 }),
        T + 1,
      )
      expect(job).toMatchObject({ dueAt: T + MINUTE, completedWithoutOutputSince: T + 1, updatedAt: T })
      await f.store.change(id, () => ({ status: 'QUEUED' }), T + 2)
      expect(await eventsOf(f.store, f.app)).toHaveLength(1)
    })

    test('a fence that differs from the row’s is refused, whether higher or lower', async () => {
      await using f = await fixture(open)
      const { id } = await addPrediction(f.store, f.app)
      const [{ fence } = {} as Job] = await claimReadySubmits(f.store, T)
      const decide = vi.fn(() => ({ status: 'CREATED' as const }))
      const before = await jobOf(f.store, id)
      for (const stale of [fence - 1, fence + 1])
        expect(await f.store.change(id, decide, T + 1, stale)).toBeNull()
      expect(decide).not.toHaveBeenCalled()
      expect(await jobOf(f.store, id)).toEqual(before)
      expect(f.notifications).toBe(2)
      expect(await f.store.change(id, decide, T + 1, fence)).toMatchObject({ status: 'CREATED', fence })
    })

    test('a fence of 0 is a fence', async () => {
      await using f = await fixture(open)
      const { id } = await addPrediction(f.store, f.app)
      await claimReadySubmits(f.store, T)
      expect(await f.store.change(id, () => ({ status: 'CREATED' }), T, 0)).toBeNull()
    })

    test('an illegal transition throws and leaves row, log, circuit and signal untouched', async () => {
      await using f = await fixture(open)
      const { id } = await addPrediction(f.store, f.app)
      await f.store.change(id, () => ({ status: 'COMPLETED', finishedAt: T + 1 }), T + 1)
      const before = await jobOf(f.store, id)
      const change: StateChange = {
        status: 'PROCESSING',
        cost: 0,
        dueAt: 0,
        submitCircuit: { reason: 'account', until: T + HOUR },
      }
      await expect(f.store.change(id, () => change, T + 2)).rejects.toThrow(
        `illegal transition of ${id}: COMPLETED to PROCESSING`,
      )
      expect(await jobOf(f.store, id)).toEqual(before)
      expect(await eventsOf(f.store, f.app)).toHaveLength(2)
      expect(await f.store.submitCircuit()).toBeNull()
      expect(f.notifications).toBe(2)
    })

    test('a transition that throws leaves everything untouched', async () => {
      await using f = await fixture(open)
      const { id } = await addPrediction(f.store, f.app)
      const decide = () => {
        throw new Error('a bug')
      }
      await expect(f.store.change(id, decide, T)).rejects.toThrow('a bug')
      expect(await eventsOf(f.store, f.app)).toHaveLength(1)
      expect(f.notifications).toBe(1)
      // No transaction was left open.
      expect(await f.store.change(id, () => ({ status: 'CREATED' }), T)).not.toBeNull()
    })
  })
})
