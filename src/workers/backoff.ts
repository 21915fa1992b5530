/**
 * A rest after a fault, and a longer one after each next, until something goes well. Faults of one moment are one.
 * In memory: a restart tries once more, no harm.
 */
export interface Backoff {
  /** Milliseconds of the epoch; in the past where there is none. */
  readonly until: number
  isActive(): boolean
  /** @param minMs what was asked for, as far as the longest rest goes */
  start(minMs: number): number
  reset(): void
}

const INITIAL_DELAY_MS = 2000
const MAX_DELAY_MS = 5 * 60_000

export function createBackoff(now: () => number): Backoff {
  let nextDelayMs = INITIAL_DELAY_MS
  let until = 0
  /** One that ends farther ahead was begun by a clock that was wrong. */
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
