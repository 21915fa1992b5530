/**
 * When to search for the job of an unresolved submit, and when to poll an expired job. Pure.
 */
import { HOUR_MS, MINUTE_MS } from '../domain/time.ts'

/** Max time between two searches for a job, and between two polls of an expired job: six hours. */
const MAX_WAIT_MS = 6 * HOUR_MS

/**
 * The next time for a job: it waits a tenth of its age, at least `minMs` and at most MAX_WAIT_MS. A job that is an
 * hour old waits six minutes, a job that is a day old 2.4 hours.
 */
const laterByAge = (since: number, now: number, minMs: number): number =>
  now + Math.min(Math.max((now - since) / 10, minMs), MAX_WAIT_MS)

export const nextExpiredPollAt = (sentAt: number, now: number): number =>
  Math.round(laterByAge(sentAt, now, MINUTE_MS))

export interface SearchWindow {
  /** When the job of an unresolved submit may have been created, by our clock. */
  from: number
  to: number
  /**
   * Two POSTs closer than this can have jobs in each other's window, even if upstream creates one of them
   * twice as late.
   */
  conflictWindowMs: number
}

/** Upstream may create the job later than our timeout, and its clock may be off. */
export const searchWindow = (submitStartedAt: number, submitTimeoutMs: number): SearchWindow => ({
  from: submitStartedAt - submitTimeoutMs / 2,
  to: submitStartedAt + 2 * submitTimeoutMs,
  conflictWindowMs: 5 * submitTimeoutMs,
})

/** Not before the window has closed. */
export const nextSearchAt = (submitStartedAt: number, now: number, submitTimeoutMs: number): number =>
  Math.round(
    Math.max(searchWindow(submitStartedAt, submitTimeoutMs).to, laterByAge(submitStartedAt, now, 1000)),
  )
