import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  faster,
  PAUSES,
  type Pace,
  pauseOn,
  type StandingPause,
  slower,
} from '../../src/domain/submit-circuit.ts'

const SECOND = 1000
const QUARTER = 15 * 60 * SECOND
const NOW = 1_800_000_000_000

const standing = (over: Partial<StandingPause> = {}): StandingPause => ({
  reason: 'unknown',
  until: NOW - SECOND,
  since: NOW - 60 * SECOND,
  version: 7,
  trial: false,
  trialOf: null,
  failures: 0,
  ...over,
})
const onTrial = (failures: number) => standing({ trial: true, trialOf: 'a job', failures })

describe('a pause', () => {
  test('where none stands is as it comes: since now, no trial, nothing failed', () => {
    for (const reason of PAUSES)
      expect(pauseOn(null, { reason, until: NOW + 5 }, NOW)).toEqual({
        reason,
        until: NOW + 5,
        since: NOW,
        trial: false,
        trialOf: null,
        failures: 0,
      })
  })

  test('on top of an account in trouble has that reason still', () => {
    const on = standing({ reason: 'account', until: NOW + 10 })
    expect(pauseOn(on, { reason: 'unknown', until: NOW }, NOW)).toMatchObject({ reason: 'account' })
    const onTrial = { ...on, trial: true }
    expect(pauseOn(onTrial, { reason: 'unknown', until: NOW }, NOW)).toMatchObject({ reason: 'unknown' })
  })

  test('on top of another has the newer reason, the longer wait, the first beginning, and what failed so far', () => {
    const on = standing({ until: NOW + 10, failures: 3 })
    const common = { reason: 'account', since: on.since, trial: false, trialOf: null, failures: 3 }
    const pauseUntil = (until: number) => pauseOn(on, { reason: 'account', until }, NOW)
    expect(pauseUntil(NOW + 9)).toEqual({ ...common, until: NOW + 10 })
    expect(pauseUntil(NOW + 11)).toEqual({ ...common, until: NOW + 11 })
  })

  test('that ends a trial begins anew, and counts it as failed', () => {
    expect(pauseOn(onTrial(2), { reason: 'throttled', until: NOW + QUARTER }, NOW)).toEqual({
      reason: 'throttled',
      until: NOW + QUARTER,
      since: NOW,
      trial: false,
      trialOf: null,
      failures: 3,
    })
  })

  test.each([
    [0, 2],
    [1, 4],
    [2, 8],
    [3, 16],
    [8, 512],
    [9, 900],
    [10, 900],
    [5000, 900],
  ])('after %i failed trials and one more lasts %i seconds', (failures, seconds) => {
    const { until } = pauseOn(onTrial(failures), { reason: 'unknown', until: NOW }, NOW)
    expect(until).toBe(NOW + seconds * SECOND)
  })

  test('never ends before upstream said, however short the wait after a trial', () => {
    const until = NOW + 4 * QUARTER
    for (const on of [null, standing(), onTrial(0), onTrial(40)])
      expect(pauseOn(on, { reason: 'throttled', until }, NOW).until).toBe(until)
  })

  test('of submits alone, trial after trial, gets ever longer', () => {
    let at = NOW
    let on = onTrial(0)
    let last = 0
    for (let i = 0; i < 20; i++) {
      const next = pauseOn(on, { reason: 'unknown', until: at }, at)
      expect(next.until - at).toBeGreaterThanOrEqual(last)
      last = next.until - at
      at = next.until
      on = { ...next, version: i, trial: true, trialOf: 'a job' }
    }
    expect(last).toBe(QUARTER)
  })
})

const pace = (concurrency: number, ceiling: number, accepted = 0): Pace => ({
  concurrency,
  ceiling,
  accepted,
  since: NOW,
})

describe('a pace', () => {
  test.each<[string, Pace | null, number, Pace]>([
    ['half of what it was given', null, 10, pace(5, 10)],
    ['an odd number is rounded down', null, 7, pace(3, 7)],
    ['at least one', null, 1, pace(1, 1)],
    ['half of the pace where less was allowed than it has', pace(4, 11, 2), 10, pace(2, 11)],
    ['half of what it has where more was allowed', pace(8, 11, 2), 4, pace(2, 11)],
    ['the ceiling is the highest that it was ever given', pace(4, 11), 20, pace(2, 20)],
    ['one stays one', pace(1, 11, 0), 1, pace(1, 11)],
  ])('when upstream wants fewer: %s', (_, before, given, after) => {
    expect(slower(before, NOW + 1, given, NOW)).toEqual(after)
  })

  test('what was sent before it was lowered lowers it no further', () => {
    const first = slower(null, NOW - 1, 16, NOW)
    for (const begunAt of [NOW - 1, NOW]) expect(slower(first, begunAt, 15, NOW + 5)).toBe(first)
    expect(slower(first, NOW + 1, 8, NOW + 5)).toMatchObject({ concurrency: 4, since: NOW + 5 })
  })

  test.each<[string, Pace, Pace | null]>([
    ['one alone allows one more', pace(1, 5), pace(2, 5)],
    ['the first of three is counted', pace(3, 9), pace(3, 9, 1)],
    ['the second of three is counted', pace(3, 9, 1), pace(3, 9, 2)],
    ['the third of three allows one more, and the count begins anew', pace(3, 9, 2), pace(4, 9)],
    ['the last before the ceiling is the end of it', pace(8, 9, 7), null],
    ['with no room below the ceiling it is over at once', pace(1, 1), null],
    ['a ceiling of two is reached by one', pace(1, 2), null],
    ['from sixteen on it grows by an eighth', pace(40, 99, 39), pace(45, 99)],
  ])('when one is accepted: %s', (_, before, after) => {
    expect(faster(before)).toEqual(after)
  })

  test('leads back to its ceiling in a bounded number of accepted jobs, and over it never', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 4 }), (given, refusals) => {
        let at: Pace | null = null
        for (let i = 0; i < refusals; i++) at = slower(at, NOW + i, given, NOW + i)
        const { ceiling } = at!
        expect(ceiling).toBe(given)
        for (let accepted = 0; at !== null; accepted++) {
          expect(accepted).toBeLessThanOrEqual(20 * ceiling)
          expect(at.concurrency).toBeLessThan(Math.max(2, ceiling))
          at = faster(at)
        }
      }),
    )
  })
})
