/**
 * How many submits may start now, for the whole account. Pure.
 * Invariant: no submit starts while an abandoned one is unresolved, above the account's limits, or beside the probe of a
 * half-open circuit.
 */
import type { ConcurrencyLimit } from './concurrency-limit.ts'
import { missingFact } from './plan.ts'
import { allowsSubmits, type SubmitCircuit } from './submit-circuit.ts'
import { MINUTE_MS } from './time.ts'

export interface AllowanceRequest {
  now: number
  /** Max submits that the caller wants. */
  limit: number
  /** Max active jobs (submit started or in flight) at once; null: no limit. */
  upstreamConcurrency: number | null
  /** Max POSTs in any 60 s; null: no limit. */
  upstreamSubmitsPerMinute: number | null
}

/** A fact that was not needed is missing. */
export interface AllowanceFacts {
  submitCircuit: SubmitCircuit | null
  concurrencyLimit: ConcurrencyLimit | null
  /** Jobs whose POST was started and has no answer yet. */
  startedSubmits: number
  /** Started submits whose lease has ended. */
  abandonedSubmits: number
  /** Jobs that hold a slot of the account. */
  activeJobs?: number
  /** POSTs started after `after` and not later than `until`. */
  recentAttempts?: number
}

export const allowanceFactsNeeded = (
  { now, upstreamConcurrency, upstreamSubmitsPerMinute }: AllowanceRequest,
  concurrencyLimit: ConcurrencyLimit | null,
): { activeJobs: boolean; recentAttempts: { after: number; until: number } | null } => ({
  activeJobs: upstreamConcurrency !== null || concurrencyLimit !== null,
  // Attempts further ahead of the clock do not count: the clock was set back.
  recentAttempts:
    upstreamSubmitsPerMinute === null ? null : { after: now - MINUTE_MS, until: now + MINUTE_MS },
})

export function claimableCount(request: AllowanceRequest, facts: AllowanceFacts): number {
  const { limit, upstreamConcurrency, upstreamSubmitsPerMinute } = request
  const { submitCircuit, concurrencyLimit, startedSubmits, abandonedSubmits } = facts
  // An abandoned row is not yet resolved: nothing is sent before it is.
  if (abandonedSubmits > 0 || !allowsSubmits(submitCircuit)) return 0
  // Half-open: one submit, and only if no other is under way.
  const circuitAllowance = submitCircuit === null ? limit : 1 - startedSubmits
  const maxActive = Math.min(upstreamConcurrency ?? Infinity, concurrencyLimit?.concurrency ?? Infinity)
  const freeSlots =
    maxActive === Infinity ? limit : maxActive - (facts.activeJobs ?? missingFact('activeJobs'))
  const rateAllowance =
    upstreamSubmitsPerMinute === null
      ? limit
      : upstreamSubmitsPerMinute - (facts.recentAttempts ?? missingFact('recentAttempts'))
  return Math.max(0, Math.min(limit, circuitAllowance, freeSlots, rateAllowance))
}
