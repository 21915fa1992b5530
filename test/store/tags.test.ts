import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  canSee,
  createRestriction,
  createScope,
  fullScope,
  type Scope,
} from '../../src/domain/access-scope.ts'
import { VIDEO_MODELS } from '../../src/domain/models.ts'
import { type Prediction, STATUSES, type Status } from '../../src/domain/prediction.ts'
import { type Filter, matchesFilter } from '../../src/domain/prediction-filter.ts'
import type { ListPosition, PageRequest, Store } from '../../src/store/store.ts'
import { ENGINES } from '../support/engines.ts'
import {
  addPrediction,
  fixture,
  idsOf,
  newApp,
  newestFirst,
  pageRequest,
  T,
  UNKNOWN_ID,
} from '../support/store.ts'

/** More rows than an engine may count before it chooses another access path. */
const ROWS = 600
const STATUS_OF: Status[] = ['COMPLETED', 'COMPLETED', 'COMPLETED', 'FAILED', 'QUEUED']
const TAGS = [
  'all',
  'even',
  'odd',
  'early',
  'late',
  'rare',
  'none',
  ...'0123456'.split('').map(k => `of ${k}`),
]

const tagsOf = (i: number) => [
  'all',
  i % 2 ? 'odd' : 'even',
  `of ${i % 7}`,
  ...(i < 40 ? ['early'] : []),
  ...(i >= ROWS - 40 ? ['late'] : []),
  ...(i % 150 === 3 ? ['rare'] : []),
]

describe.each(ENGINES)('lists by tag on %s', (_, { open }) => {
  test('a page is what the scope can see of the filter, from any position, in both directions', async () => {
    await using f = await fixture(open)
    const other = await newApp(f.store)
    const restrictions = [
      createRestriction(['rare', 'early'], []),
      createRestriction([], [UNKNOWN_ID]),
      createRestriction(['all'], []),
    ]
    const all: Prediction[] = []
    const theirs: Prediction[] = []
    for (let i = 0; i < ROWS; i++) {
      const restriction = restrictions[i % 11] ?? null
      const restrictionKey = createScope(f.app, restriction).restrictionKey
      // Four rows have the same millisecond.
      const at = T + (i >> 2)
      const over = {
        tags: i % 13 ? tagsOf(i) : [],
        restrictionKey,
        model: VIDEO_MODELS[i % VIDEO_MODELS.length]!,
      }
      const { id } = await addPrediction(f.store, f.app, at, over)
      if (i % 3 === 0) theirs.push(await addPrediction(f.store, other, at, over))
      const status = STATUS_OF[i % STATUS_OF.length]!
      if (status !== 'QUEUED') await f.store.change(id, () => ({ status }), at)
      all.push((await f.store.get(fullScope(f.app), id))!)
    }
    all.sort(newestFirst)

    const tags = fc.array(fc.constantFrom(...TAGS), { maxLength: 12 })
    const row = fc.nat(ROWS - 1).map(i => all[i]!)
    const restriction = fc.oneof(
      fc.constantFrom(null, ...restrictions),
      fc
        .record({ tags, ids: fc.array(fc.oneof(row, fc.constantFrom(...theirs)), { maxLength: 3 }) })
        .map(({ tags, ids }) => createRestriction(tags, idsOf(ids))),
    )
    const moment = fc.integer({ min: T - 1, max: T + (ROWS >> 2) + 1 })
    const models = fc.subarray([...VIDEO_MODELS])
    const statuses = fc.subarray([...STATUSES])
    const filter: fc.Arbitrary<Filter> = fc.record(
      {
        ids: fc.array(row, { minLength: 1, maxLength: 4 }).map(idsOf),
        statuses,
        models,
        tags: fc.oneof(
          tags,
          fc.constant([...Array.from({ length: 90 }, (_, i) => `unused ${i}`), 'rare', 'of 3']),
        ),
        createdAfter: moment,
        createdBefore: moment,
      },
      { requiredKeys: [] },
    )
    const position = fc.option(row, { freq: 2 })
    const pageRequest = fc.record({
      limit: fc.oneof(fc.nat(4), fc.constantFrom(20, 100, ROWS)),
      backward: fc.boolean(),
      after: position,
      before: position,
      filter: fc.oneof(
        filter,
        fc.constant({}),
        fc.record({ tags }),
        fc.record({ models }),
        fc.record({ tags, models }),
        fc.record({ tags, statuses }),
        fc.record({ statuses }),
      ),
    })
    let found = 0
    await fc.assert(
      fc.asyncProperty(restriction, pageRequest, async (restriction, request) => {
        const scope: Scope = createScope(f.app, restriction)
        const { predictions: expected, ...ends } = modelOf(all, scope, request)
        found += expected.length
        const { predictions, ...more } = await f.store.list(scope, request)
        expect([idsOf(predictions), more]).toEqual([idsOf(expected), ends])
      }),
      { numRuns: 1000 },
    )
    expect(found).toBeGreaterThan(1000)
  })

  test('page by page no row is missed or repeated, though it has many of the tags', async () => {
    await using f = await fixture(open)
    for (let i = 0; i < 90; i++) await addPrediction(f.store, f.app, T + (i >> 3), { tags: tagsOf(i) })
    const all = (await f.store.list(fullScope(f.app), pageRequest())).predictions
    const some = createScope(f.app, createRestriction(['odd', 'of 1', 'of 2', 'of 3', 'rare'], [all[7]!.id]))
    for (const [scope, filter] of [
      [fullScope(f.app), { tags: TAGS }],
      [some, {}],
      [some, { tags: ['all', 'early', 'of 2'] }],
      [some, { statuses: ['QUEUED'] }],
    ] satisfies [Scope, Filter][])
      for (const backward of [false, true]) {
        const expected = all.filter(p => canSee(scope, p) && matchesFilter(filter, p))
        expect(idsOf(await listAll(f.store, scope, { limit: 7, backward, filter }))).toEqual(idsOf(expected))
      }
  })

  test('no tag gives access to what a token has submitted', async () => {
    await using f = await fixture(open)
    const restriction = createRestriction([], [UNKNOWN_ID])
    const scope = createScope(f.app, restriction)
    await addPrediction(f.store, f.app, T, { tags: [restriction.key] })
    const { id } = await addPrediction(f.store, f.app, T, { restrictionKey: restriction.key })
    expect(idsOf((await f.store.list(scope, pageRequest())).predictions)).toEqual([id])
    const { predictions } = await f.store.list(
      fullScope(f.app),
      pageRequest({ filter: { tags: [restriction.key] } }),
    )
    expect(idsOf(predictions)).not.toContain(id)
  })
})

const isNewer = (a: ListPosition, b: ListPosition) =>
  a.createdAt > b.createdAt || (a.createdAt === b.createdAt && a.id > b.id)

function modelOf(all: Prediction[], scope: Scope, { limit, backward, after, before, filter }: PageRequest) {
  const rows = all.filter(
    p =>
      canSee(scope, p) &&
      matchesFilter(filter, p) &&
      (after === null || isNewer(after, p)) &&
      (before === null || isNewer(p, before)),
  )
  const more = rows.length > limit
  return {
    predictions: backward ? rows.slice(Math.max(0, rows.length - limit)) : rows.slice(0, limit),
    hasNextPage: backward ? before !== null : more,
    hasPreviousPage: backward ? more : after !== null,
  }
}

async function listAll(
  store: Store,
  scope: Scope,
  { limit, backward, filter }: Pick<PageRequest, 'limit' | 'backward' | 'filter'>,
): Promise<Prediction[]> {
  const all: Prediction[] = []
  for (let at: Prediction | null = null; ; ) {
    const asked = { limit, backward, filter, after: backward ? null : at, before: backward ? at : null }
    const { predictions, hasNextPage, hasPreviousPage } = await store.list(scope, asked)
    all[backward ? 'unshift' : 'push'](...predictions)
    if (!(backward ? hasPreviousPage : hasNextPage)) return all
    at = predictions.at(backward ? 0 : -1)!
  }
}
