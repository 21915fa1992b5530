/**
 * What holds submits back: a pause of them all, and a pace below what the account may have. Pure.
 * Invariant: whatever goes wrong upstream, it is asked ever less often, and the queue is not burnt job by job.
 */

/** Why nothing is submitted for now, whatever is queued. Once upstream can be read again, one submit at a time is a trial. */
export const CIRCUIT_REASONS = ['unknown', 'unreachable', 'account', 'throttled'] as const
export type CircuitReason = (typeof CIRCUIT_REASONS)[number]
export interface CircuitTrip {
  reason: CircuitReason
  /** No look whether it is over before this. */
  until: number
}
export interface SubmitCircuit extends CircuitTrip {
  since: number
  /** Tells one pause from the next. */
  version: number
  /** Upstream can be read again: one submit at a time, until upstream has accepted or rejected it. */
  halfOpen: boolean
  /** Whose submit that is; an answer to an earlier POST proves nothing. */
  probePredictionId: string | null
  /** Trials that failed, one after the other. */
  failures: number
}

const SECOND = 1000
const MAX_OPEN_MS = 15 * 60 * SECOND

/**
 * A pause where another one stands, or its trial. On top of one: the newer reason (but an account in trouble, which needs
 * a person, is hidden by none), the longer wait, the first beginning.
 * A trial that failed doubles the wait, from two seconds to a quarter of an hour, so that an outage of submits alone
 * can't burn the queue job by job.
 */
export function openCircuit(
  current: SubmitCircuit | null,
  trip: CircuitTrip,
  now: number,
): Omit<SubmitCircuit, 'version'> {
  const opened = { ...trip, since: now, halfOpen: false, probePredictionId: null, failures: 0 }
  if (current === null) return opened
  const { since, halfOpen, failures } = current
  const reason = current.reason === 'account' ? current.reason : trip.reason
  if (!halfOpen) return { ...opened, reason, until: Math.max(trip.until, current.until), since, failures }
  const until = Math.max(trip.until, now + Math.min(2 ** (failures + 1) * SECOND, MAX_OPEN_MS))
  return { ...opened, until, failures: failures + 1 }
}

/** Jobs at once while upstream has lately wanted fewer. */
export interface ConcurrencyLimit {
  concurrency: number
  /** Back at this many it is over. */
  ceiling: number
  /** Accepted since it last changed. */
  accepted: number
  /** When it was lowered. */
  since: number
}

/**
 * Upstream wants fewer: half of what it was given, at least one. Once for all POSTs that were under way when it said so.
 * @param submitStartedAt of the POST it said so to
 * @param jobsInFlight jobs upstream would have had with it
 */
export function decreaseConcurrency(
  limit: ConcurrencyLimit | null,
  submitStartedAt: number,
  jobsInFlight: number,
  now: number,
): ConcurrencyLimit {
  if (limit !== null && submitStartedAt <= limit.since) return limit
  return {
    concurrency: Math.max(1, Math.floor(Math.min(limit?.concurrency ?? jobsInFlight, jobsInFlight) / 2)),
    ceiling: Math.max(limit?.ceiling ?? 0, jobsInFlight),
    accepted: 0,
    since: now,
  }
}

/** One was accepted. As many as it allows in a row allow an eighth more, at least one; null once it is back at its ceiling. */
export function increaseConcurrency(limit: ConcurrencyLimit): ConcurrencyLimit | null {
  const accepted = limit.accepted + 1
  if (accepted < limit.concurrency) return { ...limit, accepted }
  const concurrency = limit.concurrency + Math.max(1, limit.concurrency >> 3)
  return concurrency >= limit.ceiling ? null : { ...limit, concurrency, accepted: 0 }
}
