/**
 * The POSTs of unknown outcome: which of them had a cause, and what became of them. Pure.
 */
import { SUBMIT_FAULTS } from '../../../src/simulator/fault-kinds.ts'
import type { Evidence, PredictionRow } from './evidence.ts'

/** From the arrival of a POST that goes well to its answer on the gateway's disk. */
const ANSWER_WRITE_MS = 1500

/** A fault that leaves a POST unknown, a time-out, or a kill before its answer was written down. */
export function hasKnownCause(
  { id, marker, submitStartedAt }: PredictionRow,
  { posts, killTimes, timedOutSubmits }: Evidence,
): boolean {
  if (timedOutSubmits.has(id)) return true
  const own = posts.filter(post => post.marker === marker)
  if (own.some(({ kind }) => kind !== null && SUBMIT_FAULTS[kind]?.certainOutcome === 'unknown')) return true
  const startedAt = submitStartedAt ?? Number.POSITIVE_INFINITY
  const lastPostAt = Math.max(startedAt, ...own.map(({ at }) => at))
  return killTimes.some(killedAt => killedAt >= startedAt && killedAt <= lastPostAt + ANSWER_WRITE_MS)
}

/** Rows that stayed unknown, and those of them that upstream has a job for. */
export function countUnresolved({ rows, jobs }: Pick<Evidence, 'rows' | 'jobs'>): {
  unknown: number
  charged: number
} {
  const namedJobIds = new Set(rows.map(({ upstreamId }) => upstreamId))
  const unnamedJobs = Map.groupBy(
    jobs.filter(({ id }) => !namedJobIds.has(id)),
    ({ marker }) => marker,
  )
  const unknown = rows.filter(({ error }) => error === 'SUBMISSION_UNKNOWN')
  return {
    unknown: unknown.length,
    charged: unknown.filter(({ marker }) => unnamedJobs.get(marker)?.pop()).length,
  }
}
