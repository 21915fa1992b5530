/**
 * When to look for what has no answer, and at what was given up. Pure.
 */
const MINUTE = 60_000
/** No look is put off by more. */
const MAX_WAIT_MS = 6 * 60 * MINUTE

/** A tenth of its age later: an hour old, in six minutes; a day old, in two hours. */
const laterByAge = (since: number, now: number, minMs: number): number =>
  now + Math.min(Math.max((now - since) / 10, minMs), MAX_WAIT_MS)

export const nextExpiredPollAt = (sentAt: number, now: number): number =>
  Math.round(laterByAge(sentAt, now, MINUTE))

export interface SearchWindow {
  /** When a job may have been created whose POST has no answer, by upstream's clock. */
  from: number
  to: number
  /** POSTs so near to each other that one's job may stand in the other's window, even one that was made twice as late. */
  conflictWindowMs: number
}

/** Upstream may take longer to create it than we waited for its answer, and its clock be ahead or behind. */
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
