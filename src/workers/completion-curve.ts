/**
 * What finished jobs say of a model's time to completion. Pure.
 * Invariant: finite and smooth whatever the spans are. Spans were cut by looks, so each one's mass is spread over its width
 * and over the way to its neighbours: a look never makes the clump that would call for more looks.
 */
import type { DurationRange } from '../store/store.ts'

/** What is known of one model's time to completion. Ages are ms since a job was sent. */
export interface CompletionCurve {
  /** The catalogue's figure. */
  readonly expectedMs: number
  /** Of spans. */
  readonly sampleCount: number
  /** The bins' edges, one more than bins; nothing was seen beyond the last. */
  readonly edges: Float64Array
  /** √(f/S), the root of the hazard, in each bin; 1/√ms. */
  readonly hazardRoots: Float64Array
  /** ½(∫√(S·f))², ms: the least that looks a job × mean delay can be. */
  readonly lowerBoundMs: number
  /** When a tenth, half and nine tenths are done. */
  readonly p10: number
  readonly p50: number
  readonly p90: number
}

const WEEK_MS = 7 * 24 * 3_600_000
const BINS = 160
/** So many jobs later a span counts half: a model that has become slower is told by its newest jobs. */
const HALF_LIFE_JOBS = 80
/** Times that the spans are narrowed to where the others say their jobs have ended. One is too few after a shift. */
const NARROWING_PASSES = 2

/** `spans` newest first, at most some hundreds; `expectedMs` is the catalogue's figure. */
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

/** A share of the jobs that ended between `from` and `to`, evenly. */
interface Piece extends DurationRange {
  mass: number
}

/** The share of jobs done by each edge. */
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
    // What the first look found may have ended at any time; the nearer half of it moves that look, and keeps its place.
    const from = Math.min(Math.max(span.from, to / 2), to)
    return { from, to, mass: weights[i]! / total }
  })
}

/** Where in its width a job ended, most likely: without this a span over a gap would call for looks in the gap. */
function narrow(piece: Piece, { edges, shares }: Distribution): Piece {
  const low = interpolate(edges, shares, piece.from)
  const high = interpolate(edges, shares, piece.to)
  if (!(high > low)) return piece
  const from = Math.max(piece.from, interpolate(shares, edges, low + 0.1 * (high - low)))
  const to = Math.min(piece.to, interpolate(shares, edges, high - 0.1 * (high - low)))
  return { from, to: Math.max(from, to), mass: piece.mass }
}

/** Each at least as wide as the way to its √n-th neighbour on the nearer side, so that none reaches over a gap. */
function smooth(pieces: readonly Piece[]): Piece[] {
  const sorted = pieces.toSorted((a, b) => a.from + a.to - b.from - b.to)
  const midpoint = (i: number) => (sorted[i] ? (sorted[i].from + sorted[i].to) / 2 : Number.NaN)
  const neighbourOffset = Math.ceil(Math.sqrt(sorted.length))
  return sorted.map(({ from, to, mass }, i) => {
    const center = midpoint(i)
    const below = center - midpoint(i - neighbourOffset)
    const above = midpoint(i + neighbourOffset) - center
    // A lone job says little, and equal ones not that all will be equal.
    const neighbourDistance = Math.min(below >= 0 ? below : center / 2, above >= 0 ? above : center / 2)
    const halfWidth = Math.max((to - from) / 2, neighbourDistance, center / 200)
    return { from: Math.max(0, center - halfWidth), to: center + halfWidth, mass }
  })
}

/** Bins grow with age by the same factor: what is early is told apart finely, whatever came last. */
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

/** The y that belongs to x; both rise. */
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
