/**
 * Keeps an upstream that is down from being asked by every job in flight.
 * Invariant: after some failed reads in a row there is one look at a time, after ever longer waits, until one succeeds.
 * In memory: a restart asks a few times more, no harm.
 */
export interface PollCircuit {
  /** How many of so many looks may begin now. */
  limitPolls(limit: number): number
  /** Some have. */
  recordStart(): void
  recordSuccess(): void
  /** @param retryAfterMs what upstream itself asked for */
  recordFailure(retryAfterMs: number | null): void
  readonly isOpen: boolean
}

/** Failed reads in a row. One alone says nothing: it may be the job's own. */
const FAILURE_THRESHOLD = 5
const MIN_WAIT_MS = 1000
const MAX_WAIT_MS = 60_000

/** @param clock ms, monotonic */
export function createPollCircuit(clock: () => number = () => performance.now()): PollCircuit {
  let failures = 0
  let waitMs = MIN_WAIT_MS
  /** No look before. */
  let nextProbeAt = 0
  /** The one look is under way; what others bring that were sent before it opened is no further reason. */
  let isHalfOpen = false
  const isOpen = () => failures >= FAILURE_THRESHOLD

  const scheduleProbe = (retryAfterMs: number | null) => {
    nextProbeAt = clock() + Math.max(waitMs, Math.min(retryAfterMs ?? 0, MAX_WAIT_MS))
  }

  return {
    limitPolls: limit => (!isOpen() ? limit : clock() < nextProbeAt ? 0 : Math.min(limit, 1)),
    recordStart() {
      if (!isOpen()) return
      isHalfOpen = true
      // Should it never come back, by then another may.
      nextProbeAt = clock() + MAX_WAIT_MS
    },
    recordSuccess() {
      failures = 0
      waitMs = MIN_WAIT_MS
      isHalfOpen = false
    },
    recordFailure(retryAfterMs) {
      if (!isOpen()) {
        failures++
        if (isOpen()) scheduleProbe(retryAfterMs)
      } else if (isHalfOpen) {
        isHalfOpen = false
        waitMs = Math.min(2 * waitMs, MAX_WAIT_MS)
        scheduleProbe(retryAfterMs)
      }
    },
    get isOpen() {
      return isOpen()
    },
  }
}
