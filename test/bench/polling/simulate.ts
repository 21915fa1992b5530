/**
 * Jobs arrive one after another in simulated time. Polls find them ended, and the next curve is fitted to what the
 * polls found.
 * Invariant: the schedule is given nothing of the true distribution but the duration ranges that its own polls have
 * found.
 */
import type { DurationRange } from '../../../src/store/store.ts'
import { type CompletionCurve, fitCompletionCurve } from '../../../src/workers/completion-curve.ts'
import { nextPollAge, type PollLimits } from '../../../src/workers/poll-schedule.ts'
import type { Distribution } from './distributions.ts'

export interface SimulationRun {
  jobs: number
  /** The distribution that the job of this number is drawn from. */
  distributionOf(job: number): Distribution
  expectedMs: number
  limits: PollLimits
  /** Time from one job to the next. */
  arrivalIntervalMs: number
  /** Duration ranges that a curve is fitted to. With 0 the schedule never learns. */
  sampleSize: number
  random: () => number
}

export interface JobResult {
  durationMs: number
  polls: number
  delayMs: number
}

interface InFlightJob {
  job: number
  sentAt: number
  durationMs: number
  phase: number
  polls: number
  /** Age at the last poll, and the time of the next. */
  lastPolledAge: number
  nextPollAt: number
}

/** Returns the results by job number. */
export function simulate({
  jobs,
  distributionOf,
  expectedMs,
  limits,
  arrivalIntervalMs,
  sampleSize,
  random,
}: SimulationRun): JobResult[] {
  const results: JobResult[] = Array.from({ length: jobs })
  const durationRanges: DurationRange[] = []
  const inFlightJobs = new Set<InFlightJob>()
  let curve: CompletionCurve = fitCompletionCurve(durationRanges, expectedMs)

  function send(job: number): void {
    const sentAt = job * arrivalIntervalMs
    const phase = random()
    const nextPollAt = sentAt + nextPollAge(curve, 0, phase, limits, false)
    inFlightJobs.add({
      job,
      sentAt,
      durationMs: distributionOf(job).quantile(random()),
      phase,
      polls: 0,
      lastPolledAge: 0,
      nextPollAt,
    })
  }

  function poll(inFlightJob: InFlightJob): void {
    const age = inFlightJob.nextPollAt - inFlightJob.sentAt
    inFlightJob.polls++
    if (age < inFlightJob.durationMs) {
      inFlightJob.lastPolledAge = age
      inFlightJob.nextPollAt = inFlightJob.sentAt + nextPollAge(curve, age, inFlightJob.phase, limits, false)
      return
    }
    inFlightJobs.delete(inFlightJob)
    results[inFlightJob.job] = {
      durationMs: inFlightJob.durationMs,
      polls: inFlightJob.polls,
      delayMs: age - inFlightJob.durationMs,
    }
    if (sampleSize === 0) return
    durationRanges.unshift({ from: inFlightJob.lastPolledAge, to: age })
    if (durationRanges.length > sampleSize) durationRanges.pop()
    curve = fitCompletionCurve(durationRanges, expectedMs)
  }

  let sent = 0
  while (sent < jobs || inFlightJobs.size > 0) {
    let next: InFlightJob | undefined
    for (const inFlightJob of inFlightJobs)
      if (next === undefined || inFlightJob.nextPollAt < next.nextPollAt) next = inFlightJob
    if (sent < jobs && (next === undefined || sent * arrivalIntervalMs <= next.nextPollAt)) send(sent++)
    else if (next !== undefined) poll(next)
  }
  return results
}

/** A seeded random number generator (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Evenly spread pairs (the R2 sequence). A mean over a few thousand jobs is then exact to three digits. */
export function lowDiscrepancy(): () => number {
  let i = 0
  return () => {
    const share = i % 2 === 0 ? 0.7548776662466927 : 0.5698402909980532
    return (0.5 + share * ((i++ >> 1) + 1)) % 1
  }
}
