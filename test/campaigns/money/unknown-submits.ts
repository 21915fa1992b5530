/**
 * POSTs of unknown outcome: their causes, and how many remained. Pure.
 */
import { SUBMIT_FAULTS } from '../../../src/simulator/fault-kinds.ts'
import type { Evidence, PredictionRow } from './evidence.ts'

/** Maximum time from a POST's arrival to its answer on the gateway's disk. */
const ANSWER_WRITE_MS = 1500

/** Known causes: a fault that leaves the POST unknown, a time-out, a kill before the answer was written. */
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

/** Counts the rows that stayed unknown, and those of them with an upstream job. */
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
