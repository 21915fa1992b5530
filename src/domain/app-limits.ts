/**
 * Limits of an app, and which of them a submit would violate. Pure.
 * Invariant: the budget is charged on acceptance, whether the job is queued or in flight. It is credited only if the
 * prediction's cost becomes 0.
 */
import { missingFact } from './plan.ts'
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

/** The facts that an app's limits need. */
interface NeededUsage {
  /** First moment of the UTC month whose spend counts; null: the spend is not needed. */
  spendMonth: number | null
  queued: boolean
  /** When a recent submit was accepted, null: not needed. */
  recentSubmit: RecentSubmit | null
}

/** The newest submit that was accepted after `after` and not later than `until`, without the `skip` newest. */
interface RecentSubmit {
  after: number
  until: number
  skip: number
}

/** A fact that was not needed is missing. */
export interface LimitedUsage {
  /** Micro-USD. */
  spent?: number
  queued?: number
  /** Null if there was no such submit. */
  recentSubmitAt?: number | null
}

export type LimitViolation =
  | { code: 'BUDGET_EXCEEDED'; budget: number; spent: number }
  | { code: 'QUEUE_FULL' }
  | { code: 'RATE_LIMITED'; retryAfterMs: number }

/** Submits further ahead of the clock are not counted: the clock was set back. */
const MAX_CLOCK_SKEW_MS = MINUTE_MS

export const usageNeeded = (
  { monthlyBudget, maxQueued, submitsPerMinute }: AppLimits,
  now: number,
): NeededUsage => ({
  spendMonth: monthlyBudget === null ? null : startOfUtcMonth(now),
  queued: maxQueued !== null,
  recentSubmit:
    submitsPerMinute === null
      ? null
      : { after: now - MINUTE_MS, until: now + MAX_CLOCK_SKEW_MS, skip: submitsPerMinute - 1 },
})

/** The limit that one more submit would violate, or null. Reports first a limit that waiting does not lift. */
export function checkLimits(
  { monthlyBudget, maxQueued, submitsPerMinute }: AppLimits,
  usage: LimitedUsage,
  price: number,
  now: number,
): LimitViolation | null {
  if (monthlyBudget !== null) {
    const spent = usage.spent ?? missingFact('spent')
    if (spent + price > monthlyBudget) return { code: 'BUDGET_EXCEEDED', budget: monthlyBudget, spent }
  }
  if (maxQueued !== null && (usage.queued ?? missingFact('queued')) >= maxQueued)
    return { code: 'QUEUE_FULL' }
  if (submitsPerMinute !== null) {
    const recentSubmitAt =
      usage.recentSubmitAt === undefined ? missingFact('recentSubmitAt') : usage.recentSubmitAt
    if (recentSubmitAt !== null)
      return { code: 'RATE_LIMITED', retryAfterMs: recentSubmitAt + MINUTE_MS - now }
  }
  return null
}

/** Start of the UTC month that contains `moment`, ms. */
export function startOfUtcMonth(moment: number): number {
  const date = new Date(moment)
  return Date.UTC(date.getUTCFullYear(), date.getUTCMonth())
}
