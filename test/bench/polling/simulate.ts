/**
 * Jobs arrive one after another in simulated time; looks find them ended, and what looks found makes the next curve.
 * Invariant: the schedule is told nothing of the truth but the spans its own looks have found.
 */
import type { Span } from '../../../src/store/store.ts'
import { type Curve, curveOf } from '../../../src/workers/completion-curve.ts'
import { nextLook, type PollLimits } from '../../../src/workers/poll-schedule.ts'
import type { Distribution } from './distributions.ts'

export interface Run {
  jobs: number
  /** What the job of this number is drawn from. */
  truth(job: number): Distribution
  expectedMs: number
  limits: PollLimits
  /** From one job to the next. */
  everyMs: number
  /** Spans a curve is made of; 0 never learns. */
  newest: number
  random: () => number
}

export interface Found {
  tookMs: number
  looks: number
  delayMs: number
}

interface Flight {
  job: number
  sentAt: number
  tookMs: number
  phase: number
  looks: number
  /** Age at the last look, and the time of the next. */
  seenAt: number
  lookAt: number
}

/** By the jobs' numbers. */
export function simulate({ jobs, truth, expectedMs, limits, everyMs, newest, random }: Run): Found[] {
  const found: Found[] = Array.from({ length: jobs })
  const spans: Span[] = []
  const flying = new Set<Flight>()
  let curve: Curve = curveOf(spans, expectedMs)

  function send(job: number): void {
    const sentAt = job * everyMs
    const phase = random()
    const lookAt = sentAt + nextLook(curve, 0, phase, limits, false)
    flying.add({ job, sentAt, tookMs: truth(job).quantile(random()), phase, looks: 0, seenAt: 0, lookAt })
  }

  function look(flight: Flight): void {
    const age = flight.lookAt - flight.sentAt
    flight.looks++
    if (age < flight.tookMs) {
      flight.seenAt = age
      flight.lookAt = flight.sentAt + nextLook(curve, age, flight.phase, limits, false)
      return
    }
    flying.delete(flight)
    found[flight.job] = { tookMs: flight.tookMs, looks: flight.looks, delayMs: age - flight.tookMs }
    if (newest === 0) return
    spans.unshift({ from: flight.seenAt, to: age })
    if (spans.length > newest) spans.pop()
    curve = curveOf(spans, expectedMs)
  }

  let sent = 0
  while (sent < jobs || flying.size > 0) {
    let next: Flight | undefined
    for (const flight of flying) if (next === undefined || flight.lookAt < next.lookAt) next = flight
    if (sent < jobs && (next === undefined || sent * everyMs <= next.lookAt)) send(sent++)
    else if (next !== undefined) look(next)
  }
  return found
}

/** A run's chances, the same for the same seed (mulberry32). */
export function chancesOf(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Evenly spread pairs (the R2 sequence): a mean over some thousand jobs is then exact to three digits. */
export function evenly(): () => number {
  let i = 0
  return () => {
    const share = i % 2 === 0 ? 0.7548776662466927 : 0.5698402909980532
    return (0.5 + share * ((i++ >> 1) + 1)) % 1
  }
}
