/**
 * What upstream lets one account do: so many videos at once, so many a minute. Counted from the ledger, so a restart
 * forgets nothing.
 */
import type { Ledger } from './simulator-store.ts'

export interface AccountOptions {
  /** Videos at once; undefined is no limit. */
  concurrency?: number | undefined
  /** Submits accepted in any 60 s; undefined is no limit. */
  perMinute?: number | undefined
}

export interface Account {
  /** Seconds until one more submit may be accepted; null if one may now. */
  retryAfter(): number | null
}

const MINUTE = 60_000

export function createAccount(
  ledger: Ledger,
  now: () => number,
  { concurrency, perMinute }: AccountOptions,
): Account {
  return {
    retryAfter() {
      const at = now()
      const places = [
        perMinute === undefined ? null : freedAt(ledger.acceptances(at - MINUTE), perMinute, MINUTE),
        concurrency === undefined ? null : freedAt(ledger.ends(at), concurrency, 0),
      ].filter(freed => freed !== null)
      return places.length === 0 ? null : Math.max(1, Math.ceil((Math.max(...places) - at) / 1000))
    },
  }
}

/** When the first of `most` places is free again, each kept `keptMs` past its moment; null if one is free. */
const freedAt = (taken: readonly number[], most: number, keptMs: number): number | null =>
  taken.length < most ? null : taken[taken.length - most]! + keptMs
