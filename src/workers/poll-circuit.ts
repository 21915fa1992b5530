/**
 * Keeps an upstream that is down from being asked by every job in flight.
 * Invariant: after some failed reads in a row there is one look at a time, after ever longer waits, until one succeeds.
 * In memory: a restart asks a few times more, no harm.
 */
export interface Breaker {
  /** How many of so many looks may begin now. */
  room(limit: number): number
  /** Some have. */
  begun(): void
  succeeded(): void
  /** @param retryAfterMs what upstream itself asked for */
  failed(retryAfterMs: number | null): void
  readonly isOpen: boolean
}

/** Failed reads in a row. One alone says nothing: it may be the job's own. */
const THRESHOLD = 5
const FIRST_WAIT_MS = 1000
const LAST_WAIT_MS = 60_000

/** @param clock ms, monotonic */
export function createBreaker(clock: () => number = () => performance.now()): Breaker {
  let failures = 0
  let wait = FIRST_WAIT_MS
  /** No look before. */
  let until = 0
  /** The one look is under way; what others bring that were sent before it opened is no further reason. */
  let onTrial = false
  const isOpen = () => failures >= THRESHOLD

  const stop = (retryAfterMs: number | null) => {
    until = clock() + Math.max(wait, Math.min(retryAfterMs ?? 0, LAST_WAIT_MS))
  }

  return {
    room: limit => (!isOpen() ? limit : clock() < until ? 0 : Math.min(limit, 1)),
    begun() {
      if (!isOpen()) return
      onTrial = true
      // Should it never come back, by then another may.
      until = clock() + LAST_WAIT_MS
    },
    succeeded() {
      failures = 0
      wait = FIRST_WAIT_MS
      onTrial = false
    },
    failed(retryAfterMs) {
      if (!isOpen()) {
        failures++
        if (isOpen()) stop(retryAfterMs)
      } else if (onTrial) {
        onTrial = false
        wait = Math.min(2 * wait, LAST_WAIT_MS)
        stop(retryAfterMs)
      }
    },
    get isOpen() {
      return isOpen()
    },
  }
}
