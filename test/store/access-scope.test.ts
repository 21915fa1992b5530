import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  canSee,
  createRestriction,
  createScope,
  fullScope,
  type Scope,
} from '../../src/domain/access-scope.ts'
import { startOfUtcMonth } from '../../src/domain/app-limits.ts'
import type { AppId, Prediction } from '../../src/domain/prediction.ts'
import { encodeId } from '../../src/graphql/global-id.ts'
import { ENGINES } from '../support/engines.ts'
import {
  addPrediction,
  fixture,
  HOUR,
  idsOf,
  newApp,
  newestFirst,
  PRICE,
  pageRequest,
  T,
  UNKNOWN_ID,
} from '../support/store.ts'

/** Similar strings, in case an engine compares differently. */
const TAGS = [
  'a',
  'A',
  'a ',
  'aa',
  'ä',
  'a\u0308',
  '\u{1f3ac}',
  '"',
  '\\',
  'a\u0000',
  'a\u0000b',
  '[]',
  '1',
  'null',
  '%',
  "'",
]
const tags = fc.array(fc.constantFrom(...TAGS), { maxLength: 3 })

describe.each(ENGINES)('scopes on %s', (_, { open }) => {
  test('every read returns exactly what the scope can see', async () => {
    await using f = await fixture(open)
    const other = await newApp(f.store)
    let ran = 0
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.record({ tags, restrictionIndex: fc.nat(3), theirs: fc.boolean(), retried: fc.boolean() }),
          {
            maxLength: 6,
          },
        ),
        fc.array(fc.record({ tags, ids: fc.array(fc.nat(30), { maxLength: 3 }) }), {
          minLength: 1,
          maxLength: 4,
        }),
        fc.boolean(),
        async (drafts, restrictions, hasFullScope) => {
          const ids = [UNKNOWN_ID, ...idsOf(await everything())]
          const scopes: Scope[] = restrictions.map(({ tags, ids: some }) =>
            createScope(
              f.app,
              createRestriction(
                tags,
                some.map(i => ids[i % ids.length]!),
              ),
            ),
          )
          if (hasFullScope) scopes.push(fullScope(f.app))
          for (const { tags, restrictionIndex, theirs, retried } of drafts) {
            const within = scopes[restrictionIndex % scopes.length]!
            await addPrediction(f.store, theirs ? other : f.app, T + ran++, {
              tags,
              restrictionKey: restrictionIndex === 0 ? '' : within.restrictionKey,
              retryOf: retried ? UNKNOWN_ID : null,
            })
          }
          const all = await everything()
          for (const scope of scopes) await agree(scope, all)
        },
      ),
      { numRuns: 40 },
    )

    async function everything(): Promise<Prediction[]> {
      const lists = []
      for (const appId of [f.app, other])
        lists.push((await f.store.list(fullScope(appId), pageRequest({ limit: 10_000 }))).predictions)
      return lists.flat()
    }

    async function agree(scope: Scope, all: Prediction[]): Promise<void> {
      const expected = all.filter(prediction => canSee(scope, prediction)).sort(newestFirst)
      for (const backward of [false, true]) {
        const { predictions } = await f.store.list(scope, pageRequest({ limit: 10_000, backward }))
        expect(idsOf(predictions)).toEqual(idsOf(expected))
      }
      const firstTwo = await f.store.list(scope, pageRequest({ limit: 2 }))
      expect([idsOf(firstTwo.predictions), firstTwo.hasNextPage]).toEqual([
        idsOf(expected).slice(0, 2),
        expected.length > 2,
      ])
      const tag = TAGS[all.length % TAGS.length]!
      const filtered = await f.store.list(scope, pageRequest({ limit: 10_000, filter: { tags: [tag] } }))
      expect(idsOf(filtered.predictions)).toEqual(idsOf(expected.filter(({ tags }) => tags.includes(tag))))
      const seen = new Set(idsOf(expected))
      const ids = [...idsOf(all), UNKNOWN_ID]
      expect((await f.store.getMany(scope, ids)).map(row => row?.id ?? null)).toEqual(
        ids.map(id => (seen.has(id) ? id : null)),
      )
      for (const id of ids.slice(-8)) {
        expect((await f.store.get(scope, id)) !== null).toBe(seen.has(id))
        expect((await f.store.snapshot(scope, id)) !== null).toBe(seen.has(id))
        const { events } = await f.store.eventsAfter({ scope, afterSeq: 0, limit: 10, predictionId: id })
        expect(events.length).toBe(seen.has(id) ? 1 : 0)
      }
      const { events } = await f.store.eventsAfter({ scope, afterSeq: 0, limit: 10_000 })
      expect(new Set(events.map(({ prediction }) => prediction.id))).toEqual(seen)
      expect(await f.store.usage(scope, T)).toEqual({
        inFlight: 0,
        queued: seen.size,
        spent: seen.size * PRICE,
      })
    }
  })

  test('invisible events are skipped in every batch, and `scannedUpTo` counts them', async () => {
    await using f = await fixture(open)
    for (let i = 0; i < 20; i++)
      await addPrediction(f.store, f.app, T + i, { tags: i % 5 === 0 ? ['a'] : ['b'] })
    const scope = createScope(f.app, createRestriction(['a'], []))
    const read: number[] = []
    const ends: number[] = []
    for (let afterSeq = 0; afterSeq < 20; ) {
      const { events, scannedUpTo } = await f.store.eventsAfter({ scope, afterSeq, limit: 3 })
      read.push(...events.map(({ seq }) => seq))
      ends.push(scannedUpTo)
      afterSeq = scannedUpTo
    }
    expect(read).toEqual([1, 6, 11, 16])
    expect(ends).toEqual([3, 6, 9, 12, 15, 18, 20])
  })

  test('an id of another type, or an unknown one, in a restriction makes nothing visible', async () => {
    await using f = await fixture(open)
    const { id } = await addPrediction(f.store, f.app)
    for (const no of ['', encodeId('Prediction', id), id.toUpperCase(), `${id} `, '%', f.app])
      expect(
        (await f.store.list(createScope(f.app, createRestriction([], [no])), pageRequest())).predictions,
      ).toEqual([])
    expect(await f.store.get(createScope('' as AppId, createRestriction([], [id])), id)).toBeNull()
  })
})

describe.each(ENGINES)('monthly spend on %s', (_, { open }) => {
  const MONTHS = [
    Date.UTC(2027, 0),
    Date.UTC(2027, 1),
    Date.UTC(2027, 2),
    Date.UTC(2028, 1),
    Date.UTC(2027, 11),
  ]
  const END = 28 * 24 * HOUR

  test('is the sum of the costs of the predictions created in the month, after any changes, for every app', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.record({
            app: fc.nat(1),
            month: fc.constantFrom(...MONTHS),
            within: fc.oneof(fc.constantFrom(0, 1, END - 1), fc.nat(END - 1)),
            cost: fc.constantFrom(0, 1, PRICE, 400_000),
            later: fc.array(
              fc.record({ cost: fc.constantFrom(undefined, 0, PRICE, 7), ahead: fc.nat(90 * 24 * HOUR) }),
              {
                maxLength: 3,
              },
            ),
          }),
          { maxLength: 12 },
        ),
        async jobs => {
          await using f = await fixture(open)
          const apps = [f.app, await newApp(f.store)]
          for (const { app, month, within, cost, later } of jobs) {
            const row = await addPrediction(f.store, apps[app]!, month + within, {
              cost,
              tags: ['a'],
            } as object)
            for (const change of later)
              await f.store.change(
                row.id,
                () => ({ ...(change.cost !== undefined && { cost: change.cost }), dueAt: 0 }),
                row.createdAt + change.ahead,
              )
          }
          for (const appId of apps) {
            const { predictions } = await f.store.list(fullScope(appId), pageRequest({ limit: 1000 }))
            for (const month of [...MONTHS, Date.UTC(2026, 11), Date.UTC(2027, 3)]) {
              const sum = predictions
                .filter(({ createdAt }) => startOfUtcMonth(createdAt) === month)
                .reduce((all, { cost }) => all + cost, 0)
              for (const moment of [month, month + END - 1]) {
                expect((await f.store.usage(fullScope(appId), moment)).spent).toBe(sum)
                // A token that can see all of it gets the same.
                const scope = createScope(appId, createRestriction(['a'], []))
                expect((await f.store.usage(scope, moment)).spent).toBe(sum)
              }
            }
          }
        },
      ),
      { numRuns: 40 },
    )
  })

  test('a change that is refused or throws neither adds nor refunds', async () => {
    await using f = await fixture(open)
    const { id } = await addPrediction(f.store, f.app)
    const spent = async () => (await f.store.usage(fullScope(f.app), T)).spent
    expect(await f.store.change(id, () => ({ cost: 0 }), T, 7)).toBeNull()
    expect(await f.store.change(id, () => null, T)).toBeNull()
    await f.store.change(id, () => ({ status: 'CANCELED' }), T)
    await expect(f.store.change(id, () => ({ status: 'QUEUED', cost: 0 }), T)).rejects.toThrow('illegal')
    expect(await spent()).toBe(PRICE)
    await expect(addPrediction(f.store, UNKNOWN_ID as AppId)).rejects.toThrow()
    expect(await spent()).toBe(PRICE)
    await f.store.change(id, () => ({ cost: 0 }), T)
    expect(await spent()).toBe(0)
  })
})

test('a month begins at midnight UTC, whatever the time zone of the gateway', () => {
  for (const [moment, month] of [
    ['2027-01-01T00:00:00.000Z', '2027-01-01T00:00:00.000Z'],
    ['2027-01-31T23:59:59.999Z', '2027-01-01T00:00:00.000Z'],
    ['2028-02-29T23:59:59.999Z', '2028-02-01T00:00:00.000Z'],
    ['2028-03-01T00:00:00.000Z', '2028-03-01T00:00:00.000Z'],
    ['1999-12-31T23:59:59.999Z', '1999-12-01T00:00:00.000Z'],
  ])
    expect(new Date(startOfUtcMonth(Date.parse(moment!))).toISOString()).toBe(month)
})
