/**
 * Circuit breaker of submits. Pure.
 * Invariant: while upstream fails it is asked ever less often, and at most one job at a time is risked as a probe.
 */
import { HOUR_MS, MINUTE_MS, SECOND_MS } from './time.ts'

/** Why the circuit is open: nothing is submitted, whatever is queued. Once upstream can be read again it is half-open. */
export const CIRCUIT_REASONS = ['unknown', 'unreachable', 'account', 'throttled'] as const
export type CircuitReason = (typeof CIRCUIT_REASONS)[number]
export interface CircuitTrip {
  reason: CircuitReason
  /** Upstream is not probed before this time. */
  until: number
}
export interface SubmitCircuit extends CircuitTrip {
  since: number
  /** Distinguishes one opening from the next. */
  version: number
  /** Upstream can be read again: one submit at a time is the probe, until upstream has accepted or rejected one. */
  halfOpen: boolean
  /** The prediction whose submit is the probe. Answers to earlier POSTs prove nothing. */
  probePredictionId: string | null
  /** Failed probes in a row. */
  failures: number
}

const MAX_OPEN_MS = 15 * MINUTE_MS
/** A circuit whose probe is due later was opened by a wrong clock. */
const MAX_PROBE_DELAY_MS = 2 * HOUR_MS

/** Closed, or half-open. */
export const allowsSubmits = (circuit: SubmitCircuit | null): boolean => circuit === null || circuit.halfOpen

/** Whether upstream is to be read, to half-open this circuit. */
export const isProbeDue = ({ halfOpen, until }: SubmitCircuit, now: number): boolean =>
  !halfOpen && (until <= now || until > now + MAX_PROBE_DELAY_MS)

/**
 * Opens the circuit, or keeps it open. If it is open already, the result has the newer reason, the later `until` and the
 * first `since`; but the reason `account`, which needs a person, is never replaced.
 * A failed probe doubles the delay, from 2 s to 15 min. An outage of submits alone can therefore not use up the queue.
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
  const until = Math.max(trip.until, now + Math.min(2 ** (failures + 1) * SECOND_MS, MAX_OPEN_MS))
  return { ...opened, until, failures: failures + 1 }
}

/** The open circuit is probed again after as long as it has been open, between one second and one minute. */
export const nextProbeAt = (since: number, now: number): number =>
  now + Math.round(Math.min(Math.max(now - since, SECOND_MS), MINUTE_MS))
