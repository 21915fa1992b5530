/**
 * Estimates a model's completion-time distribution from finished jobs. Pure.
 * Symbols, of the age t of a job: f(t) is the density of completion times. S(t), the survival, is the share of jobs
 * that still run at t. The hazard f/S is the rate at which running jobs end.
 * Invariant: finite and smooth for any spans. A span's ends are poll times, so its mass is spread over its
 * width and over the distance to its neighbours. A poll then never causes the cluster that would cause more
 * polls.
 */
import { DAY_MS } from '../domain/time.ts'
import type { DurationRange } from '../store/store.ts'

/** The completion-time distribution of one model. Ages are ms since the job was sent. */
export interface CompletionCurve {
  /** The catalogue's figure. */
  readonly expectedMs: number
  /** Number of spans. */
  readonly sampleCount: number
  /** Bin edges, one more than bins; no job ended after the last. */
  readonly edges: Float64Array
  /** √(f/S), the square root of the hazard, per bin; 1/√ms. */
  readonly hazardRoots: Float64Array
  /** ½(∫√(S·f))², ms: lower bound of polls per job × mean delay. */
  readonly lowerBoundMs: number
  /** Percentiles of the completion time, ms. */
  readonly p10: number
  readonly p50: number
  readonly p90: number
}

const WEEK_MS = 7 * DAY_MS
const BINS = 160
/** After this many newer jobs a span counts half, so that a slower model is described by its newest jobs. */
const HALF_LIFE_JOBS = 80
/** Passes that narrow each span to where the other spans say its job ended. One is too few after a shift. */
const NARROWING_PASSES = 2

/**
 * @param spans newest first, at most some hundreds
 * @param expectedMs the catalogue's figure
 */
export function fitCompletionCurve(spans: readonly DurationRange[], expectedMs: number): CompletionCurve {
  const expected = Math.min(Math.max(expectedMs || 0, 1), WEEK_MS)
  const pieces = toPieces(spans)
  if (pieces.length === 0) return emptyCurve(expected)
  let distribution = toDistribution(smooth(pieces))
  for (let pass = 0; pass < NARROWING_PASSES; pass++)
    distribution = toDistribution(smooth(pieces.map(piece => narrow(piece, distribution))))
  const { edges, shares } = distribution
  const hazardRoots = new Float64Array(BINS)
  let area = 0
  for (let i = 0; i < BINS; i++) {
    const width = edges[i + 1]! - edges[i]!
    const mass = shares[i + 1]! - shares[i]!
    const running = 1 - (shares[i]! + shares[i + 1]!) / 2
    if (mass <= 0 || running <= 0) continue
    hazardRoots[i] = Math.sqrt(mass / width / running)
    area += Math.sqrt(mass * width * running)
  }
  const [p10, p50, p90] = [0.1, 0.5, 0.9].map(share => interpolate(shares, edges, share)) as [
    number,
    number,
    number,
  ]
  return {
    expectedMs: expected,
    sampleCount: pieces.length,
    edges,
    hazardRoots,
    lowerBoundMs: area ** 2 / 2,
    p10,
    p50,
    p90,
  }
}

const emptyCurve = (expectedMs: number): CompletionCurve => ({
  expectedMs,
  sampleCount: 0,
  edges: Float64Array.of(expectedMs),
  hazardRoots: new Float64Array(0),
  lowerBoundMs: 0,
  p10: 0,
  p50: expectedMs,
  p90: expectedMs,
})

/** A share of the jobs that ended between `from` and `to`, spread evenly. */
interface Piece extends DurationRange {
  mass: number
}

/** Cumulative share of jobs done by each edge. */
interface Distribution {
  edges: Float64Array
  shares: Float64Array
}

function toPieces(spans: readonly DurationRange[]): Piece[] {
  const usable = spans.filter(({ from, to }) => to > 0 && from <= to)
  const weights = usable.map((_, i) => 0.5 ** (i / HALF_LIFE_JOBS))
  const total = weights.reduce((sum, weight) => sum + weight, 0)
  return usable.map((span, i) => {
    const to = Math.min(Math.max(span.to, 1), WEEK_MS)
    // A job found by its first poll may have ended at any time before. Only the later half of its span
    // counts, so it moves the first poll of later jobs earlier by a half at most.
    const from = Math.min(Math.max(span.from, to / 2), to)
    return { from, to, mass: weights[i]! / total }
  })
}

/**
 * Narrows a span to where its job most likely ended. Otherwise a span over a gap would cause polls in the
 * gap.
 */
function narrow(piece: Piece, { edges, shares }: Distribution): Piece {
  const low = interpolate(edges, shares, piece.from)
  const high = interpolate(edges, shares, piece.to)
  if (!(high > low)) return piece
  const from = Math.max(piece.from, interpolate(shares, edges, low + 0.1 * (high - low)))
  const to = Math.min(piece.to, interpolate(shares, edges, high - 0.1 * (high - low)))
  return { from, to: Math.max(from, to), mass: piece.mass }
}

/** Widens each piece at least to its √n-th neighbour on the nearer side, so that no piece crosses a gap. */
function smooth(pieces: readonly Piece[]): Piece[] {
  const sorted = pieces.toSorted((a, b) => a.from + a.to - b.from - b.to)
  const midpoint = (i: number) => (sorted[i] ? (sorted[i].from + sorted[i].to) / 2 : Number.NaN)
  const neighbourOffset = Math.ceil(Math.sqrt(sorted.length))
  return sorted.map(({ from, to, mass }, i) => {
    const center = midpoint(i)
    const below = center - midpoint(i - neighbourOffset)
    const above = midpoint(i + neighbourOffset) - center
    // A single job is weak evidence, and equal durations do not prove that all jobs take as long.
    const neighbourDistance = Math.min(below >= 0 ? below : center / 2, above >= 0 ? above : center / 2)
    const halfWidth = Math.max((to - from) / 2, neighbourDistance, center / 200)
    return { from: Math.max(0, center - halfWidth), to: center + halfWidth, mass }
  })
}

/** Bins grow by a constant factor: early ages have fine bins, however late the last job ended. */
function toDistribution(pieces: readonly Piece[]): Distribution {
  let first = Number.POSITIVE_INFINITY
  let last = 0
  for (const { from, to } of pieces) {
    first = Math.min(first, from)
    last = Math.max(last, to)
  }
  first = Math.max(first, last / 1000)
  const growth = Math.log(last / first) / BINS
  const edges = Float64Array.from({ length: BINS + 1 }, (_, i) =>
    i === BINS ? last : first * Math.exp(growth * i),
  )
  const shares = edges.map(edge => {
    let share = 0
    for (const { from, to, mass } of pieces)
      share += mass * Math.min(Math.max((edge - from) / (to - from), 0), 1)
    return share
  })
  return { edges, shares }
}

/** Linear interpolation; xs and ys ascend. */
function interpolate(xs: Float64Array, ys: Float64Array, x: number): number {
  let low = 0
  let high = xs.length - 1
  if (x <= xs[low]!) return ys[low]!
  if (x >= xs[high]!) return ys[high]!
  while (high - low > 1) {
    const middle = (low + high) >> 1
    if (xs[middle]! <= x) low = middle
    else high = middle
  }
  return ys[low]! + ((x - xs[low]!) / (xs[high]! - xs[low]!)) * (ys[high]! - ys[low]!)
}
