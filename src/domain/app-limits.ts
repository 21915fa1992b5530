/**
 * Limits of an app, and which of them a submit would violate. Pure.
 * Invariant: the budget is charged on acceptance, whether the job is queued or in flight. It is credited only if the
 * prediction's cost becomes 0.
 */
import { MINUTE_MS } from './time.ts'

/** Null: no limit. Limits are read again for each submit, because they change while the gateway runs. */
export interface AppLimits {
  /** Max active jobs, which hold a slot. Above it jobs wait in the queue; no submit is refused. */
  maxInFlight: number | null
  maxQueued: number | null
  submitsPerMinute: number | null
  /** Micro-USD per UTC month. */
  monthlyBudget: number | null
  /** The app's share of the account's slots, relative to the other apps. */
  weight: number
}

/** Reads current usage. Each function is called only if its limit is set. */
export interface UsageReader {
  queued(): number
  /** Micro-USD in this UTC month. */
  spent(): number
  /**
   * When a recent submit was accepted: the newest one for `skip` 0, the one before it for 1, and so on. Null if that
   * was not after `moment`.
   */
  submitTimeAfter(moment: number, skip: number): number | null
}

export type LimitViolation =
  | { code: 'BUDGET_EXCEEDED'; budget: number; spent: number }
  | { code: 'QUEUE_FULL' }
  | { code: 'RATE_LIMITED'; retryAfterMs: number }

/** Reports first a limit that waiting does not lift. */
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

/** Start of the UTC month that contains `moment`, ms. */
export function startOfUtcMonth(moment: number): number {
  const date = new Date(moment)
  return Date.UTC(date.getUTCFullYear(), date.getUTCMonth())
}
