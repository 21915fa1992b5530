/**
 * What finished jobs say of a model's time to completion. Pure.
 * Invariant: finite and smooth whatever the spans are. Spans were cut by looks, so each one's mass is spread over its width
 * and over the way to its neighbours: a look never makes the clump that would call for more looks.
 */
import type { Span } from '../store/store.ts'

/** What is known of one model's time to completion. Ages are ms since a job was sent. */
export interface Curve {
  /** The catalogue's figure. */
  readonly expectedMs: number
  /** Of spans. */
  readonly known: number
  /** The bins' edges, one more than bins; nothing was seen beyond the last. */
  readonly edges: Float64Array
  /** √(f/S), the root of the hazard, in each bin; 1/√ms. */
  readonly roots: Float64Array
  /** ½(∫√(S·f))², ms: the least that looks a job × mean delay can be. */
  readonly bound: number
  /** When a tenth, half and nine tenths are done. */
  readonly early: number
  readonly usual: number
  readonly likely: number
}

const WEEK_MS = 7 * 24 * 3_600_000
const BINS = 160
/** So many jobs later a span counts half: a model that has become slower is told by its newest jobs. */
const HALF_LIFE = 80
/** Times that the spans are narrowed to where the others say their jobs have ended. One is too few after a shift. */
const PASSES = 2

/** `spans` newest first, at most some hundreds; `expectedMs` is the catalogue's figure. */
export function curveOf(spans: readonly Span[], expectedMs: number): Curve {
  const expected = Math.min(Math.max(expectedMs || 0, 1), WEEK_MS)
  const found = piecesOf(spans)
  if (found.length === 0) return unknown(expected)
  let done = doneOf(smoothed(found))
  for (let pass = 0; pass < PASSES; pass++) done = doneOf(smoothed(found.map(piece => narrowed(piece, done))))
  const { edges, shares } = done
  const roots = new Float64Array(BINS)
  let area = 0
  for (let i = 0; i < BINS; i++) {
    const width = edges[i + 1]! - edges[i]!
    const mass = shares[i + 1]! - shares[i]!
    const running = 1 - (shares[i]! + shares[i + 1]!) / 2
    if (mass <= 0 || running <= 0) continue
    roots[i] = Math.sqrt(mass / width / running)
    area += Math.sqrt(mass * width * running)
  }
  const [early, usual, likely] = [0.1, 0.5, 0.9].map(share => between(shares, edges, share)) as [
    number,
    number,
    number,
  ]
  return {
    expectedMs: expected,
    known: found.length,
    edges,
    roots,
    bound: area ** 2 / 2,
    early,
    usual,
    likely,
  }
}

const unknown = (expectedMs: number): Curve => ({
  expectedMs,
  known: 0,
  edges: Float64Array.of(expectedMs),
  roots: new Float64Array(0),
  bound: 0,
  early: 0,
  usual: expectedMs,
  likely: expectedMs,
})

/** A share of the jobs that ended between `from` and `to`, evenly. */
interface Piece extends Span {
  mass: number
}

/** The share of jobs done by each edge. */
interface Done {
  edges: Float64Array
  shares: Float64Array
}

function piecesOf(spans: readonly Span[]): Piece[] {
  const usable = spans.filter(({ from, to }) => to > 0 && from <= to)
  const weights = usable.map((_, i) => 0.5 ** (i / HALF_LIFE))
  const total = weights.reduce((sum, weight) => sum + weight, 0)
  return usable.map((span, i) => {
    const to = Math.min(Math.max(span.to, 1), WEEK_MS)
    // What the first look found may have ended at any time; the nearer half of it moves that look, and keeps its place.
    const from = Math.min(Math.max(span.from, to / 2), to)
    return { from, to, mass: weights[i]! / total }
  })
}

/** Where in its width a job ended, most likely: without this a span over a gap would call for looks in the gap. */
function narrowed(piece: Piece, { edges, shares }: Done): Piece {
  const low = between(edges, shares, piece.from)
  const high = between(edges, shares, piece.to)
  if (!(high > low)) return piece
  const from = Math.max(piece.from, between(shares, edges, low + 0.1 * (high - low)))
  const to = Math.min(piece.to, between(shares, edges, high - 0.1 * (high - low)))
  return { from, to: Math.max(from, to), mass: piece.mass }
}

/** Each at least as wide as the way to its √n-th neighbour on the nearer side, so that none reaches over a gap. */
function smoothed(pieces: readonly Piece[]): Piece[] {
  const sorted = pieces.toSorted((a, b) => a.from + a.to - b.from - b.to)
  const middle = (i: number) => (sorted[i] ? (sorted[i].from + sorted[i].to) / 2 : Number.NaN)
  const reach = Math.ceil(Math.sqrt(sorted.length))
  return sorted.map(({ from, to, mass }, i) => {
    const at = middle(i)
    const below = at - middle(i - reach)
    const above = middle(i + reach) - at
    // A lone job says little, and equal ones not that all will be equal.
    const way = Math.min(below >= 0 ? below : at / 2, above >= 0 ? above : at / 2)
    const half = Math.max((to - from) / 2, way, at / 200)
    return { from: Math.max(0, at - half), to: at + half, mass }
  })
}

/** Bins grow with age by the same factor: what is early is told apart finely, whatever came last. */
function doneOf(pieces: readonly Piece[]): Done {
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
function between(xs: Float64Array, ys: Float64Array, x: number): number {
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
