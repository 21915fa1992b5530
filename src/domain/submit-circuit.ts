/**
 * What holds submits back: a pause of them all, and a pace below what the account may have. Pure.
 * Invariant: whatever goes wrong upstream, it is asked ever less often, and the queue is not burnt job by job.
 */

/** Why nothing is submitted for now, whatever is queued. Once upstream can be read again, one submit at a time is a trial. */
export const PAUSES = ['unknown', 'unreachable', 'account', 'throttled'] as const
export type PauseReason = (typeof PAUSES)[number]
export interface Pause {
  reason: PauseReason
  /** No look whether it is over before this. */
  until: number
}
export interface StandingPause extends Pause {
  since: number
  /** Tells one pause from the next. */
  version: number
  /** Upstream can be read again: one submit at a time, until upstream has accepted or rejected it. */
  trial: boolean
  /** Whose submit that is; an answer to an earlier POST proves nothing. */
  trialOf: string | null
  /** Trials that failed, one after the other. */
  failures: number
}

const SECOND = 1000
const LONGEST_PAUSE = 15 * 60 * SECOND

/**
 * A pause where another one stands, or its trial. On top of one: the newer reason (but an account in trouble, which needs
 * a person, is hidden by none), the longer wait, the first beginning.
 * A trial that failed doubles the wait, from two seconds to a quarter of an hour, so that an outage of submits alone
 * can't burn the queue job by job.
 */
export function pauseOn(
  standing: StandingPause | null,
  next: Pause,
  now: number,
): Omit<StandingPause, 'version'> {
  const fresh = { ...next, since: now, trial: false, trialOf: null, failures: 0 }
  if (standing === null) return fresh
  const { since, trial, failures } = standing
  const reason = standing.reason === 'account' ? standing.reason : next.reason
  if (!trial) return { ...fresh, reason, until: Math.max(next.until, standing.until), since, failures }
  const until = Math.max(next.until, now + Math.min(2 ** (failures + 1) * SECOND, LONGEST_PAUSE))
  return { ...fresh, until, failures: failures + 1 }
}

/** Jobs at once while upstream has lately wanted fewer. */
export interface Pace {
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
 * @param begunAt of the POST it said so to
 * @param given jobs upstream would have had with it
 */
export function slower(pace: Pace | null, begunAt: number, given: number, now: number): Pace {
  if (pace !== null && begunAt <= pace.since) return pace
  return {
    concurrency: Math.max(1, Math.floor(Math.min(pace?.concurrency ?? given, given) / 2)),
    ceiling: Math.max(pace?.ceiling ?? 0, given),
    accepted: 0,
    since: now,
  }
}

/** One was accepted. As many as it allows in a row allow an eighth more, at least one; null once it is back at its ceiling. */
export function faster(pace: Pace): Pace | null {
  const accepted = pace.accepted + 1
  if (accepted < pace.concurrency) return { ...pace, accepted }
  const concurrency = pace.concurrency + Math.max(1, pace.concurrency >> 3)
  return concurrency >= pace.ceiling ? null : { ...pace, concurrency, accepted: 0 }
}
