/**
 * Circuit breaker of polls: keeps the jobs in flight from polling an upstream that is down.
 * Invariant: after FAILURE_THRESHOLD failed reads in a row, one poll at a time is allowed, after ever longer
 * waits, until one succeeds. State is in memory: after a restart a few more polls are sent.
 */
import { MINUTE_MS } from '../domain/time.ts'

export interface PollCircuit {
  /** How many of `limit` polls may start now. */
  limitPolls(limit: number): number
  /** Records that polls have started. */
  recordStart(): void
  recordSuccess(): void
  /** @param retryAfterMs upstream's Retry-After; null if it sent none */
  recordFailure(retryAfterMs: number | null): void
  readonly isOpen: boolean
}

/** Failed reads in a row. A single one may concern only its job. */
const FAILURE_THRESHOLD = 5
const MIN_WAIT_MS = 1000
const MAX_WAIT_MS = MINUTE_MS

/** @param clock ms, monotonic */
export function createPollCircuit(clock: () => number = () => performance.now()): PollCircuit {
  let failures = 0
  let waitMs = MIN_WAIT_MS
  /** No probe before this. */
  let nextProbeAt = 0
  /** A probe is under way. Failures of polls sent before the circuit opened are ignored. */
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
      // If the probe never returns, another may start then.
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
