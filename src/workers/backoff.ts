/**
 * Exponential backoff: waits after a failure, longer after each next one, until a success.
 * Failures during a wait count once. State is in memory: after a restart one more attempt is made.
 */
import { MINUTE_MS } from '../domain/time.ts'

export interface Backoff {
  /** End of the wait, ms since 1970; in the past if no wait is active. */
  readonly until: number
  isActive(): boolean
  /** @param minMs requested delay, capped at MAX_DELAY_MS */
  start(minMs: number): number
  reset(): void
}

const INITIAL_DELAY_MS = 2000
const MAX_DELAY_MS = 5 * MINUTE_MS

export function createBackoff(now: () => number): Backoff {
  let nextDelayMs = INITIAL_DELAY_MS
  let until = 0
  /** A wait that ends later than MAX_DELAY_MS from now was started by a wrong clock. */
  const isActive = () => now() < until && until - now() <= MAX_DELAY_MS

  return {
    get until() {
      return until
    },
    isActive,
    start(minMs) {
      if (isActive()) return until
      until = now() + Math.min(Math.max(nextDelayMs, minMs), MAX_DELAY_MS)
      nextDelayMs = Math.min(2 * nextDelayMs, MAX_DELAY_MS)
      return until
    },
    reset() {
      nextDelayMs = INITIAL_DELAY_MS
      until = 0
    },
  }
}
