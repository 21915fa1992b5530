/**
 * Concurrency limit below the account's own, by additive increase and multiplicative decrease. Pure.
 * Invariant: the limit is at least 1 and never above the highest number of jobs that upstream had when it throttled.
 */

/** Max concurrent jobs, while upstream has throttled us lately. */
export interface ConcurrencyLimit {
  concurrency: number
  /** The limit is dropped at this value. */
  ceiling: number
  /** Submits accepted since it last changed. */
  accepted: number
  /** When it was decreased. */
  since: number
}

/**
 * Halves the limit, to at least 1. All POSTs that were in flight at the last decrease count once.
 * @param submitStartedAt start of the POST that was throttled
 * @param activeJobs jobs upstream would have had, including that one
 */
export function decreaseConcurrency(
  limit: ConcurrencyLimit | null,
  submitStartedAt: number,
  activeJobs: number,
  now: number,
): ConcurrencyLimit {
  if (limit !== null && submitStartedAt <= limit.since) return limit
  return {
    concurrency: Math.max(1, Math.floor(Math.min(limit?.concurrency ?? activeJobs, activeJobs) / 2)),
    ceiling: Math.max(limit?.ceiling ?? 0, activeJobs),
    accepted: 0,
    since: now,
  }
}

/**
 * Counts an accepted submit. After as many in a row as the limit allows, it rises by an eighth, at least by 1.
 * Null: it has reached its ceiling.
 */
export function increaseConcurrency(limit: ConcurrencyLimit): ConcurrencyLimit | null {
  const accepted = limit.accepted + 1
  if (accepted < limit.concurrency) return { ...limit, accepted }
  const concurrency = limit.concurrency + Math.max(1, limit.concurrency >> 3)
  return concurrency >= limit.ceiling ? null : { ...limit, concurrency, accepted: 0 }
}
