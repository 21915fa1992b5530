import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { DurationRange } from '../../src/store/store.ts'
import { type CompletionCurve, fitCompletionCurve } from '../../src/workers/completion-curve.ts'
import { nextPollAge } from '../../src/workers/poll-schedule.ts'
import { BIMODAL, HEAVY_TAIL, NARROW, SLOWER, UNIFORM } from '../bench/polling/distributions.ts'
import { phasesOfShift, scoreLearned, scoreLearning, scoreUnlearned } from '../bench/polling/phases.ts'

const SECOND = 1000
const MINUTE = 60 * SECOND
const DAY = 24 * 60 * MINUTE
const POLL = { minMs: SECOND, maxMs: 15 * SECOND }

/** `count` jobs whose ends were found by polls one second apart. */
const spansOf = (count: number, tookMs: (u: number) => number): DurationRange[] =>
  Array.from({ length: count }, (_, i) => {
    const took = tookMs((((i * 97) % count) + 0.5) / count)
    return { from: took - SECOND / 2, to: took + SECOND / 2 }
  })

function pollsUntil(
  curve: CompletionCurve,
  end: number,
  phase = 0.5,
  limits = POLL,
  webhooks = false,
): number[] {
  const polls: number[] = []
  for (let age = 0; age < end; polls.push(age)) age = nextPollAge(curve, age, phase, limits, webhooks)
  return polls
}

const gapsBetween = (polls: readonly number[]) => polls.slice(1).map((at, i) => at - polls[i]!)
const countWithin = (polls: readonly number[], from: number, to: number) =>
  polls.filter(at => at >= from && at < to).length

const anyNumber = fc.oneof(
  fc.double(),
  fc.integer({ min: -MINUTE, max: 10 * MINUTE }),
  fc.constantFrom(0, -0, 5e-324, Number.MAX_VALUE, Number.NaN, Infinity, -Infinity),
)
const validSpan = fc
  .tuple(fc.nat(10 * MINUTE), fc.nat(MINUTE))
  .map(([from, width]) => ({ from, to: from + width + 1 }))
const spans = fc.array(fc.oneof(validSpan, fc.record({ from: anyNumber, to: anyNumber })), { maxLength: 60 })
const phase = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })
const limits = fc
  .tuple(fc.integer({ min: 1, max: MINUTE }), fc.oneof(fc.constant(0), fc.nat(3 * DAY)))
  .map(([minMs, more]) => ({ minMs, maxMs: minMs + more }))

describe('the next poll', () => {
  test('is a whole millisecond, and no sooner than the minimum interval, for any spans, age and limits', () => {
    const age = fc.oneof(anyNumber, fc.integer({ min: -DAY, max: 30 * DAY }))
    fc.assert(
      fc.property(
        spans,
        anyNumber,
        age,
        phase,
        limits,
        fc.boolean(),
        (known, expectedMs, at, own, poll, webhooks) => {
          const next = nextPollAge(fitCompletionCurve(known, expectedMs), at, own, poll, webhooks)
          expect(Number.isSafeInteger(next)).toBe(true)
          expect(next).toBeGreaterThanOrEqual(Math.min(Math.max(at || 0, 0), 1e12) + poll.minMs)
        },
      ),
      { numRuns: 400 },
    )
  })

  test('is no later than the maximum interval once nine tenths are done, and past the longest sample', () => {
    fc.assert(
      fc.property(spans, fc.nat(DAY), phase, limits, (known, more, own, poll) => {
        const curve = fitCompletionCurve(known, MINUTE)
        const age = Math.ceil(curve.p90) + more
        expect(nextPollAge(curve, age, own, poll, false)).toBeLessThanOrEqual(age + poll.maxMs)
        expect(nextPollAge(curve, 0, own, poll, false)).toBeLessThanOrEqual(Math.ceil(curve.p90 + poll.maxMs))
      }),
      { numRuns: 400 },
    )
  })

  test('with a clock that was put back is that of a job just sent', () => {
    const curve = fitCompletionCurve(spansOf(100, UNIFORM.quantile), MINUTE)
    expect(nextPollAge(curve, -5 * MINUTE, 0.3, POLL, false)).toBe(nextPollAge(curve, 0, 0.3, POLL, false))
  })

  test('before the first poll is the first, however often it is computed', () => {
    const curve = fitCompletionCurve(spansOf(100, NARROW.quantile), MINUTE)
    for (const own of [0, 0.5, 0.9]) {
      const first = nextPollAge(curve, 0, own, POLL, false)
      for (let age = 0; age < 40 * SECOND; age += 777)
        expect(nextPollAge(curve, age, own, POLL, false)).toBe(first)
    }
  })

  test('after a late poll returns to the sequence gradually, and makes no burst', () => {
    const curve = fitCompletionCurve([], 2 * MINUTE)
    const even = pollsUntil(curve, 10 * MINUTE)
    expect(new Set(gapsBetween(even)).size).toBeLessThanOrEqual(2)
    let age = even[3]! + 2 * SECOND
    const after: number[] = []
    while (age < 10 * MINUTE) {
      age = nextPollAge(curve, age, 0.5, POLL, false)
      after.push(age)
    }
    expect(Math.min(...gapsBetween(after))).toBeGreaterThan(0.8 * (even[1]! - even[0]!))
    expect(Math.min(...even.map(at => Math.abs(at - after.at(-1)!)))).toBeLessThan(SECOND / 100)
  })

  test('of jobs sent at the same time differ: their phases spread the polls over the whole interval', () => {
    const curve = fitCompletionCurve([], 2 * MINUTE)
    const firsts = Array.from({ length: 10 }, (_, i) => nextPollAge(curve, 0, i / 10, POLL, false))
    const interval = gapsBetween(pollsUntil(curve, MINUTE))[0]!
    expect(gapsBetween(firsts).every(wait => Math.abs(wait - interval / 10) <= 1)).toBe(true)
  })
})

describe('the polls of a model with samples', () => {
  test.each([NARROW, UNIFORM, BIMODAL, HEAVY_TAIL])(
    'the first poll comes when a tenth is done: $name',
    ({ quantile }) => {
      const curve = fitCompletionCurve(spansOf(300, quantile), MINUTE)
      const firsts = [0, 0.25, 0.5, 0.75, 0.99].map(own => nextPollAge(curve, 0, own, POLL, false))
      expect(firsts[0]).toBeGreaterThan(quantile(0.1) * 0.85)
      expect(firsts[2]).toBeGreaterThan(quantile(0.04))
      expect(firsts[2]).toBeLessThan(quantile(0.2))
      expect(firsts[4]).toBeLessThan(quantile(0.35))
    },
  )

  test('polls are densest where most jobs finish, and sparser after', () => {
    const polls = pollsUntil(fitCompletionCurve(spansOf(300, NARROW.quantile), MINUTE), 5 * MINUTE)
    const nearPeak = countWithin(polls, 56 * SECOND, 64 * SECOND)
    expect(nearPeak).toBeGreaterThanOrEqual(7)
    expect(countWithin(polls, 0, 50 * SECOND)).toBe(0)
    expect(countWithin(polls, 120 * SECOND, 128 * SECOND)).toBeLessThan(nearPeak / 2)
    expect(Math.min(...gapsBetween(polls))).toBeGreaterThanOrEqual(POLL.minMs)
    expect(Math.max(...gapsBetween(polls))).toBeLessThanOrEqual(POLL.maxMs)
  })

  test('nothing is polled in the gap between two humps, but right after the first', () => {
    for (const own of [0, 0.3, 0.6, 0.9]) {
      const polls = pollsUntil(fitCompletionCurve(spansOf(300, BIMODAL.quantile), MINUTE), 5 * MINUTE, own)
      expect(countWithin(polls, 90 * SECOND, 180 * SECOND)).toBeLessThanOrEqual(1)
      expect(countWithin(polls, 53 * SECOND, 80 * SECOND)).toBeGreaterThanOrEqual(1)
      expect(countWithin(polls, 200 * SECOND, 290 * SECOND)).toBeGreaterThan(10)
    }
  })

  test('jobs found by the first poll after the gap cause hardly any poll in the gap', () => {
    const samples = spansOf(300, BIMODAL.quantile).map(({ from, to }, i) =>
      from > 3 * MINUTE && to < 240 * SECOND && i % 5 === 0 ? { from: MINUTE, to } : { from, to },
    )
    expect(samples.filter(({ from }) => from === MINUTE).length).toBeGreaterThan(10)
    const pollTimes = [0, 0.2, 0.4, 0.6, 0.8].map(own =>
      pollsUntil(fitCompletionCurve(samples, MINUTE), 4 * MINUTE, own),
    )
    expect(countWithin(pollTimes.flat(), 70 * SECOND, 170 * SECOND)).toBeLessThanOrEqual(12)
  })

  test('poll times leave no trace in the curve: the same durations, measured coarsely, give much the same polls', () => {
    const cut = (widthMs: number) =>
      Array.from({ length: 300 }, (_, i) => {
        const took = UNIFORM.quantile((((i * 97) % 300) + 0.5) / 300)
        const from = Math.floor(took / widthMs) * widthMs
        return { from, to: from + widthMs }
      })
    const fine = pollsUntil(fitCompletionCurve(cut(10), MINUTE), 280 * SECOND)
    const coarse = pollsUntil(fitCompletionCurve(cut(12 * SECOND), MINUTE), 280 * SECOND)
    expect(Math.abs(fine.length - coarse.length)).toBeLessThanOrEqual(4)
    for (let from = 100 * SECOND; from < 250 * SECOND; from += 50 * SECOND)
      expect(
        Math.abs(countWithin(fine, from, from + 50 * SECOND) - countWithin(coarse, from, from + 50 * SECOND)),
      ).toBeLessThanOrEqual(3)
  })

  test('the newest spans count most', () => {
    const old = spansOf(150, NARROW.quantile)
    const young = spansOf(150, SLOWER.quantile)
    expect(fitCompletionCurve([...young, ...old], MINUTE).p50).toBeGreaterThan(2 * MINUTE)
    expect(fitCompletionCurve([...old, ...young], MINUTE).p50).toBeLessThan(2 * MINUTE)
  })

  test('one job is weak evidence: most polls are where the catalogue puts them', () => {
    const one = pollsUntil(
      fitCompletionCurve(
        spansOf(1, () => MINUTE),
        3 * MINUTE,
      ),
      10 * MINUTE,
    )
    const none = pollsUntil(fitCompletionCurve([], 3 * MINUTE), 10 * MINUTE)
    expect(one[0]).toBeLessThan(1.5 * none[0]!)
    expect(Math.max(...gapsBetween(one))).toBeLessThan(1.2 * Math.max(...gapsBetween(none)))
  })

  test('jobs that fail at once do not wait for the others', () => {
    const fast = { name: '8 % fail in 3 s', quantile: (u: number) => (u < 0.08 ? 3 : 230 + 20 * u) * SECOND }
    const { delayMs, ratioToFixed } = scoreLearned(fast, 300)
    expect(delayMs).toBeLessThan(3 * SECOND)
    expect(ratioToFixed).toBeLessThan(0.5)
  })

  test('jobs found by the first poll move it towards the beginning, by a half at most', () => {
    const { p10, p50 } = fitCompletionCurve(Array(100).fill({ from: 0, to: 2 * MINUTE }), MINUTE)
    expect(p10).toBeGreaterThan(MINUTE * 0.9)
    expect(p50).toBeLessThan(1.75 * MINUTE)
  })

  test('impossible spans are ignored', () => {
    const broken = [Number.NaN, 0, -5, Infinity].map(to => ({ from: to, to }))
    const fine = spansOf(50, NARROW.quantile)
    expect(
      fitCompletionCurve(
        [
          { from: 9, to: 3 },
          { from: Number.NaN, to: 5 },
        ],
        MINUTE,
      ),
    ).toEqual(fitCompletionCurve([], MINUTE))
    expect(fitCompletionCurve([...broken.slice(0, 3), ...fine], MINUTE)).toEqual(
      fitCompletionCurve(fine, MINUTE),
    )
  })

  test('with webhooks nothing is polled before the job is likely done, and then at the maximum interval', () => {
    for (const [curve, likely] of [
      [fitCompletionCurve([], MINUTE), MINUTE],
      [fitCompletionCurve(spansOf(300, UNIFORM.quantile), MINUTE), UNIFORM.quantile(0.9)],
    ] as const) {
      const polls = pollsUntil(curve, 10 * MINUTE, 0.5, POLL, true)
      expect(polls[0]).toBeGreaterThan(0.95 * likely)
      expect(polls[0]).toBeLessThan(1.05 * likely + POLL.maxMs)
      expect(new Set(gapsBetween(polls))).toEqual(new Set([POLL.maxMs]))
      const sooner = pollsUntil(curve, 10 * MINUTE, 0.1, POLL, true)
      expect(polls[0]! - sooner[0]!).toBe(0.4 * POLL.maxMs)
    }
  })
})

describe('polls × mean delay, with samples from its own polls,', () => {
  test.each([NARROW, UNIFORM, BIMODAL, HEAVY_TAIL])(
    'is within 1.25 of the bound once learned: $name',
    distribution => {
      const { ratioToBound, ratioToFixed } = scoreLearned(distribution, 500)
      expect(ratioToBound).toBeLessThanOrEqual(1.25)
      expect(ratioToFixed).toBeLessThan(0.75)
    },
  )

  test.each([NARROW, UNIFORM, BIMODAL, HEAVY_TAIL])(
    'is no more than a fixed interval has, before it learned and while: $name',
    distribution => {
      for (const off of [0.2, 1, 5]) {
        // The 1 % is sampling error.
        expect(scoreUnlearned(distribution, off, 3000).ratioToFixed).toBeLessThanOrEqual(1.01)
        expect(scoreLearning(distribution, off, 8).ratioToFixed).toBeLessThanOrEqual(1)
      }
    },
  )

  test('has a delay of a few per cent of the median time, in the beginning and once learned', () => {
    for (const { delayMs } of [scoreUnlearned(UNIFORM, 1, 1000), scoreLearned(UNIFORM, 500)]) {
      expect(delayMs).toBeGreaterThan(0.02 * 3 * MINUTE)
      expect(delayMs).toBeLessThan(0.04 * 3 * MINUTE)
    }
  })

  test('has that delay again after the durations have shifted', () => {
    const [before, during, after] = phasesOfShift(NARROW, SLOWER, 1).map(({ score }) => score)
    expect(before!.ratioToBound).toBeLessThanOrEqual(1.25)
    expect(during!.ratioToFixed).toBeLessThanOrEqual(1)
    expect(after!.ratioToBound).toBeLessThanOrEqual(1.25)
  })
})
