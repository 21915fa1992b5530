/**
 * When to look for what has no answer, and at what was given up. Pure.
 */
const MINUTE = 60_000
/** No look is put off by more. */
const LONGEST_WAIT = 6 * 60 * MINUTE

/** A tenth of its age later: an hour old, in six minutes; a day old, in two hours. */
const later = (since: number, now: number, least: number): number =>
  now + Math.min(Math.max((now - since) / 10, least), LONGEST_WAIT)

export const lateLook = (sent: number, now: number): number => Math.round(later(sent, now, MINUTE))

export interface SearchWindow {
  /** When a job may have been created whose POST has no answer, by upstream's clock. */
  from: number
  to: number
  /** POSTs so near to each other that one's job may stand in the other's window, even one that was made twice as late. */
  width: number
}

/** Upstream may take longer to create it than we waited for its answer, and its clock be ahead or behind. */
export const searchWindow = (begun: number, submitTimeoutMs: number): SearchWindow => ({
  from: begun - submitTimeoutMs / 2,
  to: begun + 2 * submitTimeoutMs,
  width: 5 * submitTimeoutMs,
})

/** Not before the window has closed. */
export const nextSearch = (begun: number, now: number, submitTimeoutMs: number): number =>
  Math.round(Math.max(searchWindow(begun, submitTimeoutMs).to, later(begun, now, 1000)))
