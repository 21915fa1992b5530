/**
 * What an app may have, and what a submit that would be too much is told. Pure.
 * Invariant: money is spent from acceptance on, whatever waits or is in flight; only what comes back is given back.
 */

/** Null is no limit. They are read anew each time: they change while the gateway runs. */
export interface AppLimits {
  /** Holds jobs back in the queue and refuses nothing. */
  maxInFlight: number | null
  maxQueued: number | null
  submitsPerMinute: number | null
  /** Micro-USD a UTC month. */
  monthlyBudget: number | null
  /** The app's share of scarce slots, against the others'. */
  weight: number
}

/** Asked only for what is limited. */
export interface UsageReader {
  queued(): number
  /** Micro-USD in this month. */
  spent(): number
  /** When the newest submit but `n` was accepted, if it was after; the newest has 0. */
  submitTimeAfter(moment: number, skip: number): number | null
}

export type LimitViolation =
  | { code: 'BUDGET_EXCEEDED'; budget: number; spent: number }
  | { code: 'QUEUE_FULL' }
  | { code: 'RATE_LIMITED'; retryAfterMs: number }

const MINUTE_MS = 60_000

/** What waiting does not mend is told first. */
export function checkLimits(
  limits: AppLimits,
  usage: UsageReader,
  price: number,
  now: number,
): LimitViolation | null {
  const { monthlyBudget, maxQueued, submitsPerMinute } = limits
  if (monthlyBudget !== null) {
    const spent = usage.spent()
    if (spent + price > monthlyBudget) return { code: 'BUDGET_EXCEEDED', budget: monthlyBudget, spent }
  }
  if (maxQueued !== null && usage.queued() >= maxQueued) return { code: 'QUEUE_FULL' }
  if (submitsPerMinute !== null) {
    const earliest = usage.submitTimeAfter(now - MINUTE_MS, submitsPerMinute - 1)
    if (earliest !== null) return { code: 'RATE_LIMITED', retryAfterMs: earliest + MINUTE_MS - now }
  }
  return null
}

/** The beginning of the UTC month of a moment. */
export function startOfUtcMonth(moment: number): number {
  const date = new Date(moment)
  return Date.UTC(date.getUTCFullYear(), date.getUTCMonth())
}
