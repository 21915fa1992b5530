import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  CIRCUIT_REASONS,
  type ConcurrencyLimit,
  decreaseConcurrency,
  increaseConcurrency,
  openCircuit,
  type SubmitCircuit,
} from '../../src/domain/submit-circuit.ts'

const SECOND = 1000
const QUARTER = 15 * 60 * SECOND
const NOW = 1_800_000_000_000

const openCircuitState = (over: Partial<SubmitCircuit> = {}): SubmitCircuit => ({
  reason: 'unknown',
  until: NOW - SECOND,
  since: NOW - 60 * SECOND,
  version: 7,
  halfOpen: false,
  probePredictionId: null,
  failures: 0,
  ...over,
})
const halfOpenState = (failures: number) =>
  openCircuitState({ halfOpen: true, probePredictionId: 'a job', failures })

describe('a pause', () => {
  test('where none stands is as it comes: since now, no trial, nothing failed', () => {
    for (const reason of CIRCUIT_REASONS)
      expect(openCircuit(null, { reason, until: NOW + 5 }, NOW)).toEqual({
        reason,
        until: NOW + 5,
        since: NOW,
        halfOpen: false,
        probePredictionId: null,
        failures: 0,
      })
  })

  test('on top of an account in trouble has that reason still', () => {
    const state = openCircuitState({ reason: 'account', until: NOW + 10 })
    expect(openCircuit(state, { reason: 'unknown', until: NOW }, NOW)).toMatchObject({ reason: 'account' })
    const halfOpenState = { ...state, halfOpen: true }
    expect(openCircuit(halfOpenState, { reason: 'unknown', until: NOW }, NOW)).toMatchObject({
      reason: 'unknown',
    })
  })

  test('on top of another has the newer reason, the longer wait, the first beginning, and what failed so far', () => {
    const state = openCircuitState({ until: NOW + 10, failures: 3 })
    const common = {
      reason: 'account',
      since: state.since,
      halfOpen: false,
      probePredictionId: null,
      failures: 3,
    }
    const openUntil = (until: number) => openCircuit(state, { reason: 'account', until }, NOW)
    expect(openUntil(NOW + 9)).toEqual({ ...common, until: NOW + 10 })
    expect(openUntil(NOW + 11)).toEqual({ ...common, until: NOW + 11 })
  })

  test('that ends a trial begins anew, and counts it as failed', () => {
    expect(openCircuit(halfOpenState(2), { reason: 'throttled', until: NOW + QUARTER }, NOW)).toEqual({
      reason: 'throttled',
      until: NOW + QUARTER,
      since: NOW,
      halfOpen: false,
      probePredictionId: null,
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
    const { until } = openCircuit(halfOpenState(failures), { reason: 'unknown', until: NOW }, NOW)
    expect(until).toBe(NOW + seconds * SECOND)
  })

  test('never ends before upstream said, however short the wait after a trial', () => {
    const until = NOW + 4 * QUARTER
    for (const state of [null, openCircuitState(), halfOpenState(0), halfOpenState(40)])
      expect(openCircuit(state, { reason: 'throttled', until }, NOW).until).toBe(until)
  })

  test('of submits alone, trial after trial, gets ever longer', () => {
    let at = NOW
    let state = halfOpenState(0)
    let last = 0
    for (let i = 0; i < 20; i++) {
      const next = openCircuit(state, { reason: 'unknown', until: at }, at)
      expect(next.until - at).toBeGreaterThanOrEqual(last)
      last = next.until - at
      at = next.until
      state = { ...next, version: i, halfOpen: true, probePredictionId: 'a job' }
    }
    expect(last).toBe(QUARTER)
  })
})

const concurrencyLimit = (concurrency: number, ceiling: number, accepted = 0): ConcurrencyLimit => ({
  concurrency,
  ceiling,
  accepted,
  since: NOW,
})

describe('a pace', () => {
  test.each<[string, ConcurrencyLimit | null, number, ConcurrencyLimit]>([
    ['half of what it was given', null, 10, concurrencyLimit(5, 10)],
    ['an odd number is rounded down', null, 7, concurrencyLimit(3, 7)],
    ['at least one', null, 1, concurrencyLimit(1, 1)],
    [
      'half of the pace where less was allowed than it has',
      concurrencyLimit(4, 11, 2),
      10,
      concurrencyLimit(2, 11),
    ],
    ['half of what it has where more was allowed', concurrencyLimit(8, 11, 2), 4, concurrencyLimit(2, 11)],
    [
      'the ceiling is the highest that it was ever given',
      concurrencyLimit(4, 11),
      20,
      concurrencyLimit(2, 20),
    ],
    ['one stays one', concurrencyLimit(1, 11, 0), 1, concurrencyLimit(1, 11)],
  ])('when upstream wants fewer: %s', (_, before, activeJobs, after) => {
    expect(decreaseConcurrency(before, NOW + 1, activeJobs, NOW)).toEqual(after)
  })

  test('what was sent before it was lowered lowers it no further', () => {
    const first = decreaseConcurrency(null, NOW - 1, 16, NOW)
    for (const submitStartedAt of [NOW - 1, NOW])
      expect(decreaseConcurrency(first, submitStartedAt, 15, NOW + 5)).toBe(first)
    expect(decreaseConcurrency(first, NOW + 1, 8, NOW + 5)).toMatchObject({ concurrency: 4, since: NOW + 5 })
  })

  test.each<[string, ConcurrencyLimit, ConcurrencyLimit | null]>([
    ['one alone allows one more', concurrencyLimit(1, 5), concurrencyLimit(2, 5)],
    ['the first of three is counted', concurrencyLimit(3, 9), concurrencyLimit(3, 9, 1)],
    ['the second of three is counted', concurrencyLimit(3, 9, 1), concurrencyLimit(3, 9, 2)],
    [
      'the third of three allows one more, and the count begins anew',
      concurrencyLimit(3, 9, 2),
      concurrencyLimit(4, 9),
    ],
    ['the last before the ceiling is the end of it', concurrencyLimit(8, 9, 7), null],
    ['with no room below the ceiling it is over at once', concurrencyLimit(1, 1), null],
    ['a ceiling of two is reached by one', concurrencyLimit(1, 2), null],
    ['from sixteen on it grows by an eighth', concurrencyLimit(40, 99, 39), concurrencyLimit(45, 99)],
  ])('when one is accepted: %s', (_, before, after) => {
    expect(increaseConcurrency(before)).toEqual(after)
  })

  test('leads back to its ceiling in a bounded number of accepted jobs, and over it never', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 300 }),
        fc.integer({ min: 1, max: 4 }),
        (activeJobs, decreases) => {
          let at: ConcurrencyLimit | null = null
          for (let i = 0; i < decreases; i++) at = decreaseConcurrency(at, NOW + i, activeJobs, NOW + i)
          const { ceiling } = at!
          expect(ceiling).toBe(activeJobs)
          for (let accepted = 0; at !== null; accepted++) {
            expect(accepted).toBeLessThanOrEqual(20 * ceiling)
            expect(at.concurrency).toBeLessThan(Math.max(2, ceiling))
            at = increaseConcurrency(at)
          }
        },
      ),
    )
  })
})
