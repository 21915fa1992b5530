/**
 * When to poll next. Pure.
 * Polls × mean delay is minimal if the density of polls is proportional to √(f/S), the square root of the hazard (f
 * and S: completion-curve.ts). Λ(t) is that density integrated from 0 to t: the number of polls up to the age t. Poll
 * k of a job is therefore at the age Λ⁻¹(k + phase).
 * Invariant: while the curve stays the same, a job's polls are a fixed sequence of its own, so neither a
 * restart nor a late poll makes a burst. The constant phase keeps jobs apart and, unlike jitter, costs
 * nothing.
 */
import type { CompletionCurve } from './completion-curve.ts'

export interface PollLimits {
  minMs: number
  maxMs: number
}

/** Target mean delay as a share of the median time: 3 % more of a wait goes unnoticed. */
const TARGET_DELAY_SHARE = 0.03
/**
 * Min polls per job that are spent where they reduce the delay. With fewer, the poll that finds the end
 * weighs too much.
 */
const MIN_POLLS_PER_JOB = 12
/** Number of samples at which even polls and the curve's polls weigh the same. */
const HALF_TRUST_SAMPLES = 10
/**
 * Samples over which the target moves from the catalogue's to the learned time. A target that varies costs
 * polls at the same mean delay.
 */
const FULL_AIM_SAMPLES = 100
/**
 * A density that falls below this share within a bin is held for one more poll: that poll belongs to the hump
 * that ends.
 */
const DENSITY_DROP = 0.5
/**
 * Max polls skipped before the first. Without this limit, 8 % of jobs that failed in 3 s of 240 had a mean
 * delay of 23 s; now 2 s.
 */
const MAX_SKIPPED_POLLS = 2
/**
 * Share of the distance back to its sequence that a job moves with each poll, after a late poll or a new
 * curve.
 */
const CATCH_UP_SHARE = 0.25
const INFINITE = Number.POSITIVE_INFINITY
/** Ages above this are clamped. */
const MAX_AGE_MS = 1e12

/**
 * The age (ms since it was sent) of the poll that follows `ageMs`.
 * @param phase in [0, 1), constant per job
 * @param webhooksEnabled webhooks report the end, polls are a safety net
 */
export function nextPollAge(
  curve: CompletionCurve,
  ageMs: number,
  phase: number,
  limits: PollLimits,
  webhooksEnabled: boolean,
): number {
  const minMs = Math.max(limits.minMs, 1)
  const maxMs = Math.max(limits.maxMs, minMs)
  const clampedAgeMs = Math.min(Math.max(ageMs || 0, 0), MAX_AGE_MS)
  const target = webhooksEnabled
    ? nextSafetyNetPoll(curve, clampedAgeMs, phase, maxMs)
    : nextCurvePoll(curve, clampedAgeMs, phase, minMs, maxMs)
  const latest = Math.max(clampedAgeMs, curve.p90) + maxMs
  return Math.ceil(Math.max(webhooksEnabled ? target : Math.min(target, latest), clampedAgeMs + minMs))
}

/** No poll before the job is likely done, then one every `maxMs`. */
function nextSafetyNetPoll(curve: CompletionCurve, ageMs: number, phase: number, maxMs: number): number {
  const trust = trustOf(curve)
  const first = curve.expectedMs * (1 - trust) + curve.p90 * trust + phase * maxMs
  return ageMs < first ? first : first + (Math.floor((ageMs - first) / maxMs) + 1) * maxMs
}

function nextCurvePoll(
  curve: CompletionCurve,
  ageMs: number,
  phase: number,
  minMs: number,
  maxMs: number,
): number {
  const density = densityOf(curve, minMs, maxMs)
  const trust = trustOf(curve)
  // The first poll is at p10 ± half a poll; without samples as at a fixed interval. No more than
  // MAX_SKIPPED_POLLS are skipped, else a few early failures would wait long.
  const p10Polls = Math.min(
    Math.max(integrateDensity(curve, density, curve.p10, INFINITE).polls - 0.5, 0.5),
    MAX_SKIPPED_POLLS,
  )
  const first = phase + 0.5 + trust * (p10Polls - 0.5)
  const evenPoll = integrateDensity(curve, density, ageMs, INFINITE).polls + 1
  const ownPoll = first + Math.max(0, Math.ceil(evenPoll - first - 0.5 - 1e-9))
  return integrateDensity(
    curve,
    density,
    INFINITE,
    ownPoll === first ? first : evenPoll + CATCH_UP_SHARE * (ownPoll - evenPoll),
  ).ageMs
}

const trustOf = ({ sampleCount }: CompletionCurve): number =>
  sampleCount ** 2 / (sampleCount ** 2 + HALF_TRUST_SAMPLES ** 2)

/** Polls per ms: `even` at any age, `scale` × √(f/S), at most `max`. */
interface PollDensity {
  even: number
  scale: number
  max: number
}

function densityOf(curve: CompletionCurve, minMs: number, maxMs: number): PollDensity {
  const trust = trustOf(curve)
  const cataloguedMs = TARGET_DELAY_SHARE * curve.expectedMs
  const learnedMs = Math.min(
    TARGET_DELAY_SHARE * curve.p50,
    curve.sampleCount === 0 ? INFINITE : curve.lowerBoundMs / MIN_POLLS_PER_JOB,
  )
  const aimMs = cataloguedMs * (learnedMs / cataloguedMs) ** Math.min(1, curve.sampleCount / FULL_AIM_SAMPLES)
  const delayMs = Math.min(Math.max(aimMs, minMs / 2), maxMs / 2)
  return {
    even: (1 - trust) / (2 * delayMs),
    scale: (trust * Math.sqrt(2 * curve.lowerBoundMs)) / (2 * delayMs),
    max: 1 / minMs,
  }
}

/** Integrates the density from 0 to an age or to a number of polls, whichever comes first. */
function integrateDensity(
  { edges, hazardRoots }: CompletionCurve,
  density: PollDensity,
  ageMs: number,
  polls: number,
) {
  const { even, scale, max } = density
  let start = 0
  let passedPolls = 0
  let heldRate = 0
  let heldUntil = 0
  for (let i = -1; i < hazardRoots.length; i++) {
    const end = edges[i + 1]!
    let rate = Math.min(even + scale * (i < 0 ? 0 : hazardRoots[i]!), max)
    if (rate < heldRate * DENSITY_DROP && start < heldUntil) rate = heldRate
    else {
      heldRate = rate
      heldUntil = end + 1 / rate
    }
    const inside = Math.min(ageMs, end) - start
    const addedPolls = rate * inside
    if (polls <= passedPolls + addedPolls) return { ageMs: start + (polls - passedPolls) / rate, polls }
    passedPolls += addedPolls
    if (ageMs <= end) return { ageMs, polls: passedPolls }
    start = end
  }
  // The mean rate so far, like a fixed interval: if all jobs take longer from now on, this is no worse.
  const rate = Math.min(passedPolls / start, max)
  if (polls <= passedPolls + rate * (ageMs - start))
    return { ageMs: start + (polls - passedPolls) / rate, polls }
  return { ageMs, polls: passedPolls + rate * (ageMs - start) }
}
