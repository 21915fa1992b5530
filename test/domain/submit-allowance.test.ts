import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type AllowanceFacts,
  type AllowanceRequest,
  allowanceFactsNeeded,
  claimableCount,
} from '../../src/domain/submit-allowance.ts'
import type { SubmitCircuit } from '../../src/domain/submit-circuit.ts'
import { MINUTE, T } from '../support/store.ts'

const REQUEST: AllowanceRequest = {
  now: T,
  limit: 8,
  upstreamConcurrency: null,
  upstreamSubmitsPerMinute: null,
}
const FACTS: AllowanceFacts = {
  submitCircuit: null,
  concurrencyLimit: null,
  startedSubmits: 0,
  abandonedSubmits: 0,
}
const HALF_OPEN: SubmitCircuit = {
  reason: 'unknown',
  since: T,
  until: T,
  version: 1,
  halfOpen: true,
  probePredictionId: null,
  failures: 0,
}
const LIMIT = { concurrency: 3, ceiling: 9, accepted: 0, since: T }

describe('the number of submits that may start', () => {
  test.each<[string, Partial<AllowanceRequest>, Partial<AllowanceFacts>, number]>([
    ['is what the caller wants, without limits', {}, { startedSubmits: 99 }, 8],
    ['is what the account’s concurrency leaves', { upstreamConcurrency: 10 }, { activeJobs: 7 }, 3],
    ['is what the reduced concurrency leaves', {}, { concurrencyLimit: LIMIT, activeJobs: 1 }, 2],
    [
      'is what the lower of both leaves',
      { upstreamConcurrency: 2 },
      { concurrencyLimit: LIMIT, activeJobs: 1 },
      1,
    ],
    ['is what the minute leaves', { upstreamSubmitsPerMinute: 5 }, { recentAttempts: 1 }, 4],
    ['is 0 above a limit', { upstreamConcurrency: 1 }, { activeJobs: 5 }, 0],
    ['is 0 while a submit is abandoned', {}, { startedSubmits: 1, abandonedSubmits: 1 }, 0],
    ['is 0 while the circuit is open', {}, { submitCircuit: { ...HALF_OPEN, halfOpen: false } }, 0],
    ['is 1 while it is half-open', {}, { submitCircuit: HALF_OPEN }, 1],
    [
      'is 0 while it is half-open and a submit is under way',
      {},
      { submitCircuit: HALF_OPEN, startedSubmits: 2 },
      0,
    ],
  ])('%s', (_, request, facts, count) => {
    expect(claimableCount({ ...REQUEST, ...request }, { ...FACTS, ...facts })).toBe(count)
  })

  test('never exceeds a limit, and needs only the facts of the limits that are set', () => {
    const count = fc.nat(20)
    fc.assert(
      fc.property(
        fc.record({
          limit: count,
          upstreamConcurrency: fc.option(count),
          upstreamSubmitsPerMinute: fc.option(count),
        }),
        fc.record({
          submitCircuit: fc.constantFrom(null, HALF_OPEN),
          concurrencyLimit: fc.option(count.map(concurrency => ({ ...LIMIT, concurrency }))),
          startedSubmits: count,
          abandonedSubmits: fc.constant(0),
        }),
        count,
        count,
        (limits, known, activeJobs, recentAttempts) => {
          const request = { ...REQUEST, ...limits }
          const needed = allowanceFactsNeeded(request, known.concurrencyLimit)
          const claimable = claimableCount(request, {
            ...known,
            ...(needed.activeJobs && { activeJobs }),
            ...(needed.recentAttempts && { recentAttempts }),
          })
          const maxActive = Math.min(
            limits.upstreamConcurrency ?? Infinity,
            known.concurrencyLimit?.concurrency ?? Infinity,
          )
          expect(claimable).toBeGreaterThanOrEqual(0)
          if (claimable === 0) return
          expect(claimable).toBeLessThanOrEqual(limits.limit)
          expect(activeJobs + claimable).toBeLessThanOrEqual(needed.activeJobs ? maxActive : Infinity)
          expect(recentAttempts + claimable).toBeLessThanOrEqual(limits.upstreamSubmitsPerMinute ?? Infinity)
          if (known.submitCircuit !== null) expect(claimable + known.startedSubmits).toBe(1)
        },
      ),
    )
  })
})

test('attempts of the last minute count, and those that a clock set back left less than a minute ahead', () => {
  expect(allowanceFactsNeeded({ ...REQUEST, upstreamSubmitsPerMinute: 1 }, null)).toEqual({
    activeJobs: false,
    recentAttempts: { after: T - MINUTE, until: T + MINUTE },
  })
})
