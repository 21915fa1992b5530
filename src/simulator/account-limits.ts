/**
 * Upstream's limits of one account: concurrent videos, and submits per minute.
 * Invariant: both are counted from the store, so a restart forgets nothing.
 */
import type { SimulatorStore } from './simulator-store.ts'

export interface AccountLimitOptions {
  /** Max concurrent videos. Undefined: no limit. */
  concurrency?: number | undefined
  /** Max submits accepted in any 60 s. Undefined: no limit. */
  perMinute?: number | undefined
}

export interface AccountLimits {
  /** Seconds until a submit can be accepted. Null: now. */
  retryAfterSeconds(): number | null
}

const MINUTE_MS = 60_000

export function createAccountLimits(
  store: SimulatorStore,
  now: () => number,
  { concurrency, perMinute }: AccountLimitOptions,
): AccountLimits {
  return {
    retryAfterSeconds() {
      const at = now()
      const freeTimes = [
        perMinute === undefined ? null : freeAt(store.acceptedAfter(at - MINUTE_MS), perMinute, MINUTE_MS),
        concurrency === undefined ? null : freeAt(store.endingAfter(at), concurrency, 0),
      ].filter(freed => freed !== null)
      return freeTimes.length === 0 ? null : Math.max(1, Math.ceil((Math.max(...freeTimes) - at) / 1000))
    },
  }
}

/** When the first of `limit` slots is free again, if each is held for `heldMs` after its time. Null: one is free now. */
const freeAt = (taken: readonly number[], limit: number, heldMs: number): number | null =>
  taken.length < limit ? null : taken[taken.length - limit]! + heldMs
