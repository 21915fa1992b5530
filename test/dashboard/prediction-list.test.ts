import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { CardFilter, PredictionCard, PredictionStatus } from '../../src/dashboard/documents.ts'
import {
  appendPage,
  EMPTY_LIST,
  filterList,
  matchesCardFilter,
  type PredictionList,
  updateCard,
} from '../../src/dashboard/prediction-list.ts'
import { at, predictionOf } from '../support/prediction-card.ts'

const MANY = 1000
const ids = (list: PredictionList) => list.cards.map(({ id }) => id)

test('a prediction list is the newest part of all predictions, without holes, in whatever order events and pages arrive', () => {
  const change = fc.record({
    at: fc.integer({ min: 0, max: 11 }),
    status: fc.constantFrom<PredictionStatus>('QUEUED', 'PROCESSING', 'COMPLETED', 'FAILED'),
  })
  const step = fc.oneof({ arbitrary: fc.record({ change }), weight: 4 }, fc.constant('read' as const))
  const filter = fc.constantFrom<CardFilter>({}, { statuses: ['QUEUED', 'FAILED'] })
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 8 }), filter, fc.array(step), (older, filter, steps) => {
      /** The predictions in the gateway. */
      const rows = new Map<string, PredictionCard>()
      const row = (nth: number, status: PredictionStatus, updated: number) => {
        const id = `p${String(nth).padStart(2, '0')}`
        // Three predictions per millisecond.
        rows.set(id, predictionOf(id, { status, createdAt: at(Math.floor(nth / 3)), updatedAt: at(updated) }))
        return rows.get(id)!
      }
      for (let nth = 0; nth < older; nth++) row(nth, 'QUEUED', 0)
      const listed = () =>
        [...rows.values()]
          .filter(one => matchesCardFilter(filter, one))
          .sort((a, b) => (a.id < b.id ? 1 : -1))
      const page = (below: string | undefined) => {
        const rest = listed().filter(({ createdAt }) => below === undefined || createdAt <= below)
        return [rest.slice(0, 4), rest.length > 4] as const
      }
      let list = appendPage(EMPTY_LIST, ...page(undefined))
      let newest = older
      for (const [time, step] of steps.entries()) {
        if (step === 'read') {
          if (list.oldestLoaded !== null) list = appendPage(list, ...page(list.oldestLoaded.createdAt))
        } else {
          // A new prediction is always the next one, without gaps.
          const nth = Math.min(step.change.at, newest)
          newest = Math.max(newest, nth + 1)
          list = updateCard(list, filter, row(nth, step.change.status, time + 1), MANY)
        }
        const { oldestLoaded } = list
        const expected = listed().filter(({ id }) => oldestLoaded === null || id >= oldestLoaded.id)
        expect(list.cards).toEqual(expected)
      }
    }),
  )
})

test('late events and pages change nothing', () => {
  const done = predictionOf('a', { status: 'COMPLETED', updatedAt: at(2) })
  const list = appendPage(EMPTY_LIST, [done], false)
  expect(updateCard(list, {}, predictionOf('a', { status: 'PROCESSING', updatedAt: at(1) }), MANY)).toBe(list)
  expect(appendPage(list, [predictionOf('a')], false).cards).toEqual([done])
})

test('a card that no longer matches the filter is removed', () => {
  const filter = { statuses: ['QUEUED'] as const }
  const list = appendPage(EMPTY_LIST, [predictionOf('a')], false)
  const running = predictionOf('a', { status: 'PROCESSING', updatedAt: at(1) })
  expect(ids(updateCard(list, filter, running, MANY))).toEqual([])
  expect(ids(updateCard(list, {}, running, MANY))).toEqual(['a'])
  expect(ids(filterList(updateCard(list, {}, running, MANY), filter))).toEqual([])
  expect(matchesCardFilter({ tags: ['x', 'y'] }, predictionOf('a', { tags: ['y'] }))).toBe(true)
  expect(matchesCardFilter({ tags: ['x'] }, predictionOf('a', { tags: ['y'] }))).toBe(false)
  expect(matchesCardFilter({ statuses: ['FAILED'], tags: ['y'] }, predictionOf('a', { tags: ['y'] }))).toBe(
    false,
  )
})

test('a list that is too long drops its oldest cards, to be read again', () => {
  const full = appendPage(EMPTY_LIST, [predictionOf('b', { createdAt: at(1) }), predictionOf('a')], false)
  const cut = updateCard(full, {}, predictionOf('c', { createdAt: at(2) }), 2)
  expect(ids(cut)).toEqual(['c', 'b'])
  expect(cut.oldestLoaded?.id).toBe('b')
  // A prediction older than `oldestLoaded` is not added, since others before it may be missing.
  expect(ids(updateCard(cut, {}, predictionOf('a', { updatedAt: at(3) }), 2))).toEqual(['c', 'b'])
  expect(ids(appendPage(cut, [predictionOf('b', { createdAt: at(1) }), predictionOf('a')], false))).toEqual([
    'c',
    'b',
    'a',
  ])
})
