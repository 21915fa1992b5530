/**
 * When to look next. Pure.
 * Looks × mean delay is least where the looks' density Λ′ goes as √(f/S), the root of the hazard; look k is at Λ⁻¹(k + phase).
 * Invariant: as long as the curve stays, a job's looks are a fixed sequence of its own, so neither a restart nor a look that
 * comes late makes a burst; the constant phase keeps jobs apart and costs nothing, as jitter of every wait would.
 */
import type { Curve } from './completion-curve.ts'

export interface PollLimits {
  minMs: number
  maxMs: number
}

/** Mean delay aimed at, as a share of the usual time: nobody notices 3 % more of a wait. */
const DELAY = 0.03
/** Where so many looks a job buy a smaller delay, they are taken: with fewer, the one that finds it ended weighs too much. */
const LOOKS = 12
/** With so many spans the even looks of the beginning and the curve's weigh the same. */
const EVEN_AT = 10
/** The aim moves from the catalogue's to the learned time over so many spans: a delay that varies costs looks at the same mean. */
const AIMED_AT = 100
/** Where the density falls to less than this within a bin, it is held for one look more: that look ends a hump, not the next. */
const FALL = 0.5
/** Looks before the first that are left out. Without an end to it, 8 % that fail in 3 s of 240 had a mean delay of 23 s; now 2 s. */
const MOST_SKIPPED = 2
/** Of the way back to its sequence a job goes so much with each look, after it was late or the curve has changed. */
const PULL = 0.25
const END = Number.POSITIVE_INFINITY
/** Beyond this an age is as good as this. */
const AGES_MS = 1e12

/**
 * Age, ms since it was sent, of the look that follows `age`.
 * `phase` in [0, 1) is the job's own and constant. `webhooks`: they tell, and looks are a safety net.
 */
export function nextLook(
  curve: Curve,
  age: number,
  phase: number,
  limits: PollLimits,
  webhooks: boolean,
): number {
  const minMs = Math.max(limits.minMs, 1)
  const maxMs = Math.max(limits.maxMs, minMs)
  const now = Math.min(Math.max(age || 0, 0), AGES_MS)
  const wanted = webhooks ? netAfter(curve, now, phase, maxMs) : lookAfter(curve, now, phase, minMs, maxMs)
  const latest = Math.max(now, curve.likely) + maxMs
  return Math.ceil(Math.max(webhooks ? wanted : Math.min(wanted, latest), now + minMs))
}

/** Nothing before a job is likely done, then every `maxMs`. */
function netAfter(curve: Curve, now: number, phase: number, maxMs: number): number {
  const trust = trustOf(curve)
  const first = curve.expectedMs * (1 - trust) + curve.likely * trust + phase * maxMs
  return now < first ? first : first + (Math.floor((now - first) / maxMs) + 1) * maxMs
}

function lookAfter(curve: Curve, now: number, phase: number, minMs: number, maxMs: number): number {
  const density = densityOf(curve, minMs, maxMs)
  const trust = trustOf(curve)
  // The first look is where the earliest tenth are done, half a look sooner or later, and at the beginning as an interval's.
  // No more than two looks are left out for it: a few that fail at once would wait for all others.
  const tenth = Math.min(Math.max(walk(curve, density, curve.early, END).looks - 0.5, 0.5), MOST_SKIPPED)
  const first = phase + 0.5 + trust * (tenth - 0.5)
  const even = walk(curve, density, now, END).looks + 1
  const own = first + Math.max(0, Math.ceil(even - first - 0.5 - 1e-9))
  return walk(curve, density, END, own === first ? first : even + PULL * (own - even)).age
}

/** A pause is probed after twice the time it has lasted, between one second and one minute. */
export const nextProbe = (since: number, now: number): number => now + clamp(now - since, 1000, 60_000)

const clamp = (value: number, least: number, most: number) =>
  Math.round(Math.min(Math.max(value, least), most))

const trustOf = ({ known }: Curve): number => known ** 2 / (known ** 2 + EVEN_AT ** 2)

/** Looks a ms: `even` at any age, `scale` × √(f/S), never more than `most`. */
interface Density {
  even: number
  scale: number
  most: number
}

function densityOf(curve: Curve, minMs: number, maxMs: number): Density {
  const trust = trustOf(curve)
  const catalogued = DELAY * curve.expectedMs
  const learned = Math.min(DELAY * curve.usual, curve.known === 0 ? END : curve.bound / LOOKS)
  const aim = catalogued * (learned / catalogued) ** Math.min(1, curve.known / AIMED_AT)
  const delay = Math.min(Math.max(aim, minMs / 2), maxMs / 2)
  return {
    even: (1 - trust) / (2 * delay),
    scale: (trust * Math.sqrt(2 * curve.bound)) / (2 * delay),
    most: 1 / minMs,
  }
}

/** Λ from 0 to an age or to a number of looks, whichever comes first. */
function walk({ edges, roots }: Curve, density: Density, age: number, looks: number) {
  const { even, scale, most } = density
  let start = 0
  let passed = 0
  let held = 0
  let until = 0
  for (let i = -1; i < roots.length; i++) {
    const end = edges[i + 1]!
    let rate = Math.min(even + scale * (i < 0 ? 0 : roots[i]!), most)
    if (rate < held * FALL && start < until) rate = held
    else {
      held = rate
      until = end + 1 / rate
    }
    const inside = Math.min(age, end) - start
    const more = rate * inside
    if (looks <= passed + more) return { age: start + (looks - passed) / rate, looks }
    passed += more
    if (age <= end) return { age, looks: passed }
    start = end
  }
  // As a fixed interval would have had it up to here: if everything takes longer from now on, that is no worse than one.
  const rate = Math.min(passed / start, most)
  if (looks <= passed + rate * (age - start)) return { age: start + (looks - passed) / rate, looks }
  return { age, looks: passed + rate * (age - start) }
}
