/**
 * What an app may have, and what a submit that would be too much is told. Pure.
 * Invariant: money is spent from acceptance on, whatever waits or is in flight; only what comes back is given back.
 */

/** Null is no limit. They are read anew each time: they change while the gateway runs. */
export interface Limits {
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
export interface Use {
  queued(): number
  /** Micro-USD in this month. */
  spent(): number
  /** When the newest submit but `n` was accepted, if it was after; the newest has 0. */
  submitAfter(moment: number, n: number): number | null
}

export type Excess =
  | { code: 'BUDGET_EXCEEDED'; budget: number; spent: number }
  | { code: 'QUEUE_FULL' }
  | { code: 'RATE_LIMITED'; retryAfterMs: number }

const MINUTE_MS = 60_000

/** What waiting does not mend is told first. */
export function excessOf(limits: Limits, use: Use, price: number, now: number): Excess | null {
  const { monthlyBudget, maxQueued, submitsPerMinute } = limits
  if (monthlyBudget !== null) {
    const spent = use.spent()
    if (spent + price > monthlyBudget) return { code: 'BUDGET_EXCEEDED', budget: monthlyBudget, spent }
  }
  if (maxQueued !== null && use.queued() >= maxQueued) return { code: 'QUEUE_FULL' }
  if (submitsPerMinute !== null) {
    const earliest = use.submitAfter(now - MINUTE_MS, submitsPerMinute - 1)
    if (earliest !== null) return { code: 'RATE_LIMITED', retryAfterMs: earliest + MINUTE_MS - now }
  }
  return null
}

/** The beginning of the UTC month of a moment. */
export function monthOf(moment: number): number {
  const date = new Date(moment)
  return Date.UTC(date.getUTCFullYear(), date.getUTCMonth())
}
