import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { nextLook, nextProbe } from '../src/workers/schedule.ts'

const T = 1_800_000_000_000
const SECOND = 1000
const MINUTE = 60 * SECOND
const POLL = { minMs: SECOND, maxMs: 15 * SECOND }
/** The middle of the spread: neither sooner nor later. */
const EVEN = 0.5

describe('the next look', () => {
  test.each([
    [0, SECOND],
    [5 * SECOND, SECOND],
    [10 * SECOND, SECOND],
    [40 * SECOND, 4 * SECOND],
    [2 * MINUTE, 12 * SECOND],
    [150 * SECOND, 15 * SECOND],
    [60 * MINUTE, 15 * SECOND],
  ])('at a job of %i ms is after %i ms', (age, wait) => {
    expect(nextLook(T, T + age, POLL, EVEN)).toBe(T + age + wait)
  })

  test('is spread by 15 % either way, so that jobs of one moment keep apart', () => {
    const wait = (random: number) => nextLook(T, T + 100 * SECOND, POLL, random) - (T + 100 * SECOND)
    expect(wait(0)).toBe(8500)
    expect(wait(0.5)).toBe(10_000)
    expect(wait(1 - Number.EPSILON)).toBe(11_500)
  })

  test('is a whole millisecond, within its limits, whatever the age and the chance', () => {
    const chance = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })
    const age = fc.integer({ min: -MINUTE, max: 24 * 60 * MINUTE })
    fc.assert(
      fc.property(age, chance, fc.nat(5000), fc.nat(60_000), (ms, random, minMs, more) => {
        const limits = { minMs, maxMs: minMs + more }
        const wait = nextLook(T, T + ms, limits, random) - (T + ms)
        expect(Number.isInteger(wait)).toBe(true)
        expect(wait).toBeGreaterThanOrEqual(limits.minMs)
        expect(wait).toBeLessThanOrEqual(limits.maxMs)
      }),
    )
  })

  test('a job that ends between two looks is found within a seventh of its time', () => {
    for (let age = 10 * SECOND; age <= 150 * SECOND; age += SECOND)
      for (const random of [0, EVEN, 0.999])
        expect(nextLook(T, T + age, { minMs: 0, maxMs: MINUTE }, random) - T).toBeLessThan(age * (1 + 1 / 7))
  })
})

describe('the next probe of a pause', () => {
  test.each([
    [0, SECOND],
    [500, SECOND],
    [SECOND, SECOND],
    [7 * SECOND, 7 * SECOND],
    [MINUTE, MINUTE],
    [60 * MINUTE, MINUTE],
    [-MINUTE, SECOND],
  ])('that has lasted %i ms is after %i ms', (lasted, wait) => {
    expect(nextProbe(T, T + lasted)).toBe(T + lasted + wait)
  })

  test('comes half a dozen times in the first minute of an outage, then once a minute', () => {
    const probes: number[] = []
    for (let at = T; at < T + 10 * MINUTE; at = nextProbe(T, at)) probes.push(at - T)
    expect(probes.filter(at => at > 0 && at <= MINUTE)).toHaveLength(6)
    expect(probes.filter(at => at > 2 * MINUTE)).toHaveLength(8)
  })
})
