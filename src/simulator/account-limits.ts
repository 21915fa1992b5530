/**
 * What upstream lets one account do: so many videos at once, so many a minute. Counted from the ledger, so a restart
 * forgets nothing.
 */
import type { SimulatorStore } from './simulator-store.ts'

export interface AccountLimitOptions {
  /** Videos at once; undefined is no limit. */
  concurrency?: number | undefined
  /** Submits accepted in any 60 s; undefined is no limit. */
  perMinute?: number | undefined
}

export interface AccountLimits {
  /** Seconds until one more submit may be accepted; null if one may now. */
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

/** When the first of `most` places is free again, each kept `keptMs` past its moment; null if one is free. */
const freeAt = (taken: readonly number[], limit: number, heldMs: number): number | null =>
  taken.length < limit ? null : taken[taken.length - limit]! + heldMs
