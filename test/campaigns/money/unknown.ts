/**
 * The POSTs of unknown outcome: which of them had a cause, and what became of them. Pure.
 */
import { SUBMITS } from '../../../src/simulator/fault-kinds.ts'
import type { Case, Row } from './case.ts'

/** From the arrival of a POST that goes well to its answer on the gateway's disk. */
const WRITTEN_MS = 1500

/** A fault that leaves a POST unknown, a time-out, or a kill before its answer was written down. */
export function hadCause({ id, marker, begunAt }: Row, { posts, kills, givenUp }: Case): boolean {
  if (givenUp.has(id)) return true
  const own = posts.filter(post => post.marker === marker)
  if (own.some(({ kind }) => kind !== null && SUBMITS[kind]?.leaves === 'unknown')) return true
  const begun = begunAt ?? Number.POSITIVE_INFINITY
  const last = Math.max(begun, ...own.map(({ at }) => at))
  return kills.some(kill => kill >= begun && kill <= last + WRITTEN_MS)
}

/** Rows that stayed unknown, and those of them that upstream has a job for. */
export function stayed({ rows, jobs }: Pick<Case, 'rows' | 'jobs'>): { unknown: number; charged: number } {
  const named = new Set(rows.map(({ upstreamId }) => upstreamId))
  const strays = Map.groupBy(
    jobs.filter(({ id }) => !named.has(id)),
    ({ marker }) => marker,
  )
  const unknown = rows.filter(({ error }) => error === 'SUBMISSION_UNKNOWN')
  return {
    unknown: unknown.length,
    charged: unknown.filter(({ marker }) => strays.get(marker)?.pop()).length,
  }
}
