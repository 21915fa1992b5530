import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type ConcurrencyLimit,
  decreaseConcurrency,
  increaseConcurrency,
} from '../../src/domain/concurrency-limit.ts'

const NOW = 1_800_000_000_000

const concurrencyLimit = (concurrency: number, ceiling: number, accepted = 0): ConcurrencyLimit => ({
  concurrency,
  ceiling,
  accepted,
  since: NOW,
})

describe('the concurrency limit', () => {
  test.each<[string, ConcurrencyLimit | null, number, ConcurrencyLimit]>([
    ['to half of the jobs in flight', null, 10, concurrencyLimit(5, 10)],
    ['an odd number is rounded down', null, 7, concurrencyLimit(3, 7)],
    ['to at least one', null, 1, concurrencyLimit(1, 1)],
    [
      'to half of the limit, if more jobs are in flight than it allows',
      concurrencyLimit(4, 11, 2),
      10,
      concurrencyLimit(2, 11),
    ],
    [
      'to half of the jobs in flight, if the limit allows more',
      concurrencyLimit(8, 11, 2),
      4,
      concurrencyLimit(2, 11),
    ],
    [
      'and its ceiling is the highest number of jobs ever in flight',
      concurrencyLimit(4, 11),
      20,
      concurrencyLimit(2, 20),
    ],
    ['not below one', concurrencyLimit(1, 11, 0), 1, concurrencyLimit(1, 11)],
  ])('decreases %s', (_, before, activeJobs, after) => {
    expect(decreaseConcurrency(before, NOW + 1, activeJobs, NOW)).toEqual(after)
  })

  test('a submit from before the decrease does not decrease it again', () => {
    const first = decreaseConcurrency(null, NOW - 1, 16, NOW)
    for (const submitStartedAt of [NOW - 1, NOW])
      expect(decreaseConcurrency(first, submitStartedAt, 15, NOW + 5)).toBe(first)
    expect(decreaseConcurrency(first, NOW + 1, 8, NOW + 5)).toMatchObject({ concurrency: 4, since: NOW + 5 })
  })

  test.each<[string, ConcurrencyLimit, ConcurrencyLimit | null]>([
    ['a limit of one rises to two', concurrencyLimit(1, 5), concurrencyLimit(2, 5)],
    ['the first of three is counted', concurrencyLimit(3, 9), concurrencyLimit(3, 9, 1)],
    ['the second of three is counted', concurrencyLimit(3, 9, 1), concurrencyLimit(3, 9, 2)],
    [
      'the third of three raises the limit by one, and the count starts again',
      concurrencyLimit(3, 9, 2),
      concurrencyLimit(4, 9),
    ],
    ['the limit is dropped when it reaches its ceiling', concurrencyLimit(8, 9, 7), null],
    ['a limit at its ceiling is dropped at once', concurrencyLimit(1, 1), null],
    ['a ceiling of two is reached after one', concurrencyLimit(1, 2), null],
    ['from sixteen on the limit rises by an eighth', concurrencyLimit(40, 99, 39), concurrencyLimit(45, 99)],
  ])('when a submit is accepted: %s', (_, before, after) => {
    expect(increaseConcurrency(before)).toEqual(after)
  })

  test('returns to its ceiling after a bounded number of accepted jobs, and never exceeds it', () => {
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
