import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { buildSchema, parse, validate } from 'graphql'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { createAttempts, createIdempotencyKey } from '../../src/dashboard/attempts.ts'
import { createDebouncedRefresh } from '../../src/dashboard/debounced-refresh.ts'
import type {
  CardFilter,
  PredictionCard,
  PredictionStatus,
  PredictionTimes,
} from '../../src/dashboard/documents.ts'
import * as documents from '../../src/dashboard/documents.ts'
import { type Announcement, announcementText, createEndAnnouncer } from '../../src/dashboard/end-announcer.ts'
import {
  formatAgo,
  formatClock,
  formatError,
  formatMoney,
  formatSeconds,
  httpUrlOrUndefined,
} from '../../src/dashboard/format.ts'
import { createHistory } from '../../src/dashboard/history.ts'
import { computeHourStats, MINUTES, median } from '../../src/dashboard/hour-stats.ts'
import {
  appendPage,
  EMPTY_LIST,
  filterList,
  matchesFilter,
  type PredictionList,
  updateCard,
} from '../../src/dashboard/prediction-list.ts'

const SECOND = 1000
const MINUTE = 60 * SECOND
const NOON = Date.parse('2026-01-01T12:00:00.000Z')
const at = (ms: number) => new Date(NOON + ms).toISOString()

const predictionOf = (id: string, more: Partial<PredictionCard> = {}): PredictionCard => ({
  id,
  model: 'WAN_2_2_I2V_PLUS_1080P',
  status: 'QUEUED',
  input: {
    imageUrl: 'https://images.example/cat.png',
    prompt: id,
    negativePrompt: null,
    duration: 5,
    enablePromptExpansion: false,
    seed: -1,
  },
  outputs: [],
  error: null,
  cost: { amount: 0.8 },
  tags: [],
  createdAt: at(0),
  submittedAt: null,
  finishedAt: null,
  updatedAt: at(0),
  ...more,
})

const documentEntries = Object.entries<unknown>(documents).filter(
  (entry): entry is [string, string] => typeof entry[1] === 'string',
)

test.each(documentEntries)('%s is valid against the schema', (_, document) => {
  const schema = buildSchema(readFileSync('schema.graphql', 'utf8'))
  expect(validate(schema, parse(document))).toEqual([])
})

test('the statuses are those of the schema', () => {
  const schema = buildSchema(readFileSync('schema.graphql', 'utf8'))
  const values = schema.getType('PredictionStatus')!.toConfig() as unknown as { values: object }
  expect(new Set(Object.keys(values.values))).toEqual(new Set(documents.STATUSES))
})

test('the feed selects the cursor of each item type, and no field that is resolved per subscriber', () => {
  expect(documents.FEED.match(/\bcursor\b/g)).toHaveLength(3)
  expect(documents.FEED).not.toMatch(/queuePosition|retryOf|history/)
})

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
        [...rows.values()].filter(one => matchesFilter(filter, one)).sort((a, b) => (a.id < b.id ? 1 : -1))
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
  expect(matchesFilter({ tags: ['x', 'y'] }, predictionOf('a', { tags: ['y'] }))).toBe(true)
  expect(matchesFilter({ tags: ['x'] }, predictionOf('a', { tags: ['y'] }))).toBe(false)
  expect(matchesFilter({ statuses: ['FAILED'], tags: ['y'] }, predictionOf('a', { tags: ['y'] }))).toBe(false)
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

const timesOf = (more: Partial<PredictionTimes>): PredictionTimes => ({
  id: 'a',
  status: 'QUEUED',
  createdAt: at(0),
  submittedAt: null,
  finishedAt: null,
  updatedAt: at(0),
  ...more,
})

test('the hour counts each time in its minute, and older times not at all', () => {
  const now = NOON + 30 * SECOND
  const hour = computeHourStats(
    [
      timesOf({}),
      timesOf({
        status: 'COMPLETED',
        createdAt: at(-3 * MINUTE),
        submittedAt: at(-2 * MINUTE),
        finishedAt: at(0),
      }),
      timesOf({
        status: 'FAILED',
        createdAt: at(-90 * MINUTE),
        submittedAt: at(-MINUTE),
        finishedAt: at(-1),
      }),
      timesOf({ status: 'CANCELED', createdAt: at(-60 * MINUTE), finishedAt: at(-59 * MINUTE) }),
      timesOf({
        status: 'COMPLETED',
        createdAt: at(-80 * MINUTE),
        submittedAt: at(-79 * MINUTE),
        finishedAt: at(-70 * MINUTE),
      }),
    ],
    now,
  )
  const counted = (values: readonly (number | null)[]) =>
    Object.fromEntries(
      [...values.entries()]
        .filter(([, value]) => value)
        .map(([minute, value]) => [minute - MINUTES + 1, value]),
    )
  expect(counted(hour.submitted)).toEqual({ 0: 1, [-3]: 1 })
  expect(counted(hour.finished)).toEqual({ 0: 1 })
  expect(counted(hour.failed)).toEqual({ [-1]: 1 })
  expect(counted(hour.waited)).toEqual({ [-2]: 60, [-1]: 89 * 60 })
  expect(hour.times).toHaveLength(MINUTES)
  expect(hour.times.at(-1)).toBe(NOON / 1000)
  expect(hour.times[0]).toBe(NOON / 1000 - 59 * 60)
})

test('a bucket can cover several minutes', () => {
  const all = Array.from({ length: 60 }, (_, n) =>
    timesOf({
      status: 'COMPLETED',
      createdAt: at(-n * MINUTE),
      submittedAt: at(-n * MINUTE),
      finishedAt: at(-n * MINUTE),
    }),
  )
  const hour = computeHourStats(all, NOON + 4 * MINUTE + 30 * SECOND, 5)
  expect(hour.submitted).toEqual([5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 1])
  expect(hour.times).toHaveLength(12)
  expect(hour.medianWait).toBe(0)
})

test('in the history only newer states replace older ones, from events and from pages', async () => {
  const page = (nodes: PredictionTimes[], hasNextPage = false) => ({
    predictions: { edges: nodes.map(node => ({ node })), pageInfo: { hasNextPage, endCursor: 'next' } },
  })
  const done = timesOf({ status: 'COMPLETED', finishedAt: at(5), updatedAt: at(5) })
  let answer = page([done, timesOf({ id: 'b' })])
  const history = createHistory({ request: async <Data>() => answer as Data, now: () => NOON })
  history.record(timesOf({ id: 'b', status: 'FAILED', updatedAt: at(9) }))
  history.record(timesOf({}))
  await history.load()
  expect(history.timesById.get('a')).toEqual(done)
  expect(history.timesById.get('b')).toMatchObject({ status: 'FAILED' })
  expect(history.truncatedAt).toBeNull()
  // An endless list is read up to a limit, and marked as truncated.
  answer = page([done], true)
  await history.load()
  expect(history.truncatedAt).toBe(2000)
})

test('the median of an even number of values is between the two middle ones', () => {
  expect(median([])).toBeNull()
  expect(median([3])).toBe(3)
  expect(median([9, 1, 2])).toBe(2)
  expect(median([4, 1, 2, 9])).toBe(3)
})

afterEach(() => {
  vi.useRealTimers()
})

test('a debounced refresh runs once for many triggers, again for one during a run, and repeats while asked to', async () => {
  vi.useFakeTimers()
  let runs = 0
  let shouldRepeat = false
  let finish: () => void = () => {}
  const refresh = createDebouncedRefresh(
    () => {
      runs++
      return new Promise(resolve => {
        finish = () => resolve(shouldRepeat)
      })
    },
    500,
    5000,
  )
  refresh.trigger()
  refresh.trigger()
  await vi.advanceTimersByTimeAsync(499)
  expect(runs).toBe(0)
  await vi.advanceTimersByTimeAsync(1)
  expect(runs).toBe(1)
  refresh.trigger()
  await vi.advanceTimersByTimeAsync(60_000)
  expect(runs).toBe(1)
  finish()
  await vi.advanceTimersByTimeAsync(500)
  expect(runs).toBe(2)
  shouldRepeat = true
  finish()
  await vi.advanceTimersByTimeAsync(4999)
  expect(runs).toBe(2)
  // A trigger does not wait for the next repetition.
  refresh.trigger()
  await vi.advanceTimersByTimeAsync(500)
  expect(runs).toBe(3)
  finish()
  await vi.advanceTimersByTimeAsync(5000)
  expect(runs).toBe(4)
  shouldRepeat = false
  finish()
  await vi.advanceTimersByTimeAsync(60_000)
  expect(runs).toBe(4)
  refresh.trigger()
  refresh.stop()
  await vi.advanceTimersByTimeAsync(60_000)
  expect(runs).toBe(4)
})

test('durations, times and money are formatted for people', () => {
  expect([0, 42_900, 725_000, 3_723_000, -5].map(formatClock)).toEqual([
    '0:00',
    '0:42',
    '12:05',
    '1:02:03',
    '0:00',
  ])
  expect([0, 4.23, 9, 61, 180, 7200].map(formatSeconds)).toEqual([
    '0 s',
    '4.2 s',
    '9 s',
    '61 s',
    '3 min',
    '2 h',
  ])
  expect([0.8, 0, 1234.5].map(formatMoney)).toEqual(['$0.80', '$0.00', '$1,234.50'])
  expect([-1, 59 * SECOND, 5 * MINUTE, 180 * MINUTE].map(age => formatAgo(at(-age), NOON))).toEqual([
    'just now',
    'just now',
    '5 min ago',
    '3 h ago',
  ])
})

test('an error has the facts that the user needs to act on it', () => {
  expect(
    formatError({ code: 'RATE_LIMITED', message: 'Too many of all sorts.', retryAfterMs: 11_200 }, 0.8),
  ).toBe('Too many submits within a minute. In 12 s there is room again.')
  expect(formatError({ message: 'Over.', budget: { amount: 10 }, spent: { amount: 9.6 } }, 0.8)).toBe(
    'Over. Spent: $9.60 of $10.00; this costs $0.80.',
  )
  const issues = ['expected at most 10 tags', 'its image has expired'].map(message => ({ path: [], message }))
  expect(formatError({ message: 'No.', issues })).toBe('At most 10 tags. Its image has expired.')
  expect(formatError({ message: 'No.' })).toBe('No.')
})

test.each([
  ['https://videos.example/1.mp4', true],
  ['HTTP://127.0.0.1:1/x', true],
  ['javascript:alert(1)', false],
  ['data:text/html,<script>', false],
  ['//videos.example/1.mp4', false],
  ['', false],
])('%s is a URL that may be shown: %s', (url, isAllowed) => {
  expect(httpUrlOrUndefined(url)).toBe(isAllowed ? url : undefined)
})

test('finished predictions are announced: one by its prompt, several by their number', () => {
  const failed = { code: 'X', message: 'No.', retryable: false }
  const [done, gone] = [
    predictionOf('a', { status: 'COMPLETED' }),
    predictionOf('b', { status: 'FAILED', error: failed }),
  ]
  expect(announcementText([done])).toBe('The video is there: a')
  expect(announcementText([gone])).toBe('Failed: b. No.')
  expect(announcementText([done, done, gone])).toBe('2 videos are there, 1 failed')
  expect(announcementText([gone, gone])).toBe('2 failed')
})

test('equal texts are two announcements, and an unfinished prediction causes none', async () => {
  vi.useFakeTimers()
  const announcements: Announcement[] = []
  const announcer = createEndAnnouncer(announcement => announcements.push(announcement))
  announcer.add(predictionOf('a', { status: 'PROCESSING' }))
  await vi.advanceTimersByTimeAsync(5000)
  expect(announcements).toEqual([])
  for (let n = 0; n < 2; n++) {
    announcer.add(predictionOf('a', { status: 'COMPLETED' }))
    await vi.advanceTimersByTimeAsync(5000)
  }
  expect(announcements.map(({ text }) => text)).toEqual(['The video is there: a', 'The video is there: a'])
  expect(new Set(announcements.map(({ id }) => id)).size).toBe(2)
  announcer.add(predictionOf('a', { status: 'COMPLETED' }))
  announcer.stop()
  await vi.advanceTimersByTimeAsync(5000)
  expect(announcements).toHaveLength(2)
})

describe('an attempt', () => {
  function fixture() {
    let at = 0
    const keys: string[] = []
    const attempts = createAttempts(() => at)
    return {
      keys,
      pass: (ms: number) => {
        at += ms
      },
      ask: (request: string, isLost = false) =>
        attempts
          .run(request, async key => {
            keys.push(key)
            if (isLost) throw new Error('no answer')
            return 'answer'
          })
          .catch(() => null),
    }
  }

  test('without an answer keeps its key, however long that takes', async () => {
    const f = fixture()
    await f.ask('a', true)
    f.pass(60 * MINUTE)
    await f.ask('b')
    await f.ask('a', true)
    await f.ask('a')
    expect([f.keys[2], f.keys[3]]).toEqual([f.keys[0], f.keys[0]])
    expect(f.keys[1]).not.toBe(f.keys[0])
  })

  test('with an answer keeps its key while it is repeated, and then no longer', async () => {
    const f = fixture()
    // A keyboard key that is held down for seconds.
    for (let n = 0; n < 100; n++) {
      await f.ask('a')
      f.pass(50)
    }
    expect(new Set(f.keys).size).toBe(1)
    f.pass(1500)
    await f.ask('a')
    expect(new Set(f.keys).size).toBe(2)
  })
})

test('each attempt has a unique key, without crypto.randomUUID', () => {
  const keys = Array.from({ length: 100 }, createIdempotencyKey)
  expect(new Set(keys)).toHaveLength(100)
  expect(keys[0]).toMatch(/^[\da-f]{32}$/)
})
