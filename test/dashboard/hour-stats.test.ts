import { expect, test } from 'vitest'
import { computeHourStats, MINUTES, median } from '../../src/dashboard/hour-stats.ts'
import { at, NOON, timesOf } from '../support/prediction-card.ts'

const SECOND = 1000
const MINUTE = 60 * SECOND

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

test('the median of an even number of values is between the two middle ones', () => {
  expect(median([])).toBeNull()
  expect(median([3])).toBe(3)
  expect(median([9, 1, 2])).toBe(2)
  expect(median([4, 1, 2, 9])).toBe(3)
})
