/**
 * When to look next. Pure.
 * Looks × mean delay is least where the looks' density Λ′ goes as √(f/S), the root of the hazard; look k is at Λ⁻¹(k + phase).
 * Invariant: as long as the curve stays, a job's looks are a fixed sequence of its own, so neither a restart nor a look that
 * comes late makes a burst; the constant phase keeps jobs apart and costs nothing, as jitter of every wait would.
 */
import type { CompletionCurve } from './completion-curve.ts'

export interface PollLimits {
  minMs: number
  maxMs: number
}

/** Mean delay aimed at, as a share of the usual time: nobody notices 3 % more of a wait. */
const TARGET_DELAY_SHARE = 0.03
/** Where so many looks a job buy a smaller delay, they are taken: with fewer, the one that finds it ended weighs too much. */
const MIN_POLLS_PER_JOB = 12
/** With so many spans the even looks of the beginning and the curve's weigh the same. */
const HALF_TRUST_SAMPLES = 10
/** The aim moves from the catalogue's to the learned time over so many spans: a delay that varies costs looks at the same mean. */
const FULL_AIM_SAMPLES = 100
/** Where the density falls to less than this within a bin, it is held for one look more: that look ends a hump, not the next. */
const DENSITY_DROP = 0.5
/** Looks before the first that are left out. Without an end to it, 8 % that fail in 3 s of 240 had a mean delay of 23 s; now 2 s. */
const MAX_SKIPPED_POLLS = 2
/** Of the way back to its sequence a job goes so much with each look, after it was late or the curve has changed. */
const CATCH_UP_SHARE = 0.25
const INFINITE = Number.POSITIVE_INFINITY
/** Beyond this an age is as good as this. */
const MAX_AGE_MS = 1e12

/**
 * Age, ms since it was sent, of the look that follows `age`.
 * `phase` in [0, 1) is the job's own and constant. `webhooks`: they tell, and looks are a safety net.
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

/** Nothing before a job is likely done, then every `maxMs`. */
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
  // The first look is where the earliest tenth are done, half a look sooner or later, and at the beginning as an interval's.
  // No more than two looks are left out for it: a few that fail at once would wait for all others.
  const p10Polls = Math.min(
    Math.max(integrateDensity(curve, density, curve.p10, INFINITE).looks - 0.5, 0.5),
    MAX_SKIPPED_POLLS,
  )
  const first = phase + 0.5 + trust * (p10Polls - 0.5)
  const evenPoll = integrateDensity(curve, density, ageMs, INFINITE).looks + 1
  const ownPoll = first + Math.max(0, Math.ceil(evenPoll - first - 0.5 - 1e-9))
  return integrateDensity(
    curve,
    density,
    INFINITE,
    ownPoll === first ? first : evenPoll + CATCH_UP_SHARE * (ownPoll - evenPoll),
  ).age
}

/** A pause is probed after twice the time it has lasted, between one second and one minute. */
export const nextProbeAt = (since: number, now: number): number => now + clamp(now - since, 1000, 60_000)

const clamp = (value: number, min: number, max: number) => Math.round(Math.min(Math.max(value, min), max))

const trustOf = ({ sampleCount }: CompletionCurve): number =>
  sampleCount ** 2 / (sampleCount ** 2 + HALF_TRUST_SAMPLES ** 2)

/** Looks a ms: `even` at any age, `scale` × √(f/S), never more than `most`. */
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

/** Λ from 0 to an age or to a number of looks, whichever comes first. */
function integrateDensity(
  { edges, hazardRoots }: CompletionCurve,
  density: PollDensity,
  age: number,
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
    const inside = Math.min(age, end) - start
    const addedPolls = rate * inside
    if (polls <= passedPolls + addedPolls) return { age: start + (polls - passedPolls) / rate, looks: polls }
    passedPolls += addedPolls
    if (age <= end) return { age, looks: passedPolls }
    start = end
  }
  // As a fixed interval would have had it up to here: if everything takes longer from now on, that is no worse than one.
  const rate = Math.min(passedPolls / start, max)
  if (polls <= passedPolls + rate * (age - start))
    return { age: start + (polls - passedPolls) / rate, looks: polls }
  return { age, looks: passedPolls + rate * (age - start) }
}
