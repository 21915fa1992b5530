/**
 * Statistics of the last hour by the minute: submitted, finished and failed predictions, and their waits. Pure.
 */
import type { PredictionTimes } from './documents.ts'

export const MINUTES = 60
const MINUTE_MS = 60_000

export interface HourStats {
  /** Start of each bucket, Unix seconds. The last bucket is not over yet. */
  times: number[]
  submitted: number[]
  finished: number[]
  failed: number[]
  /** Median wait of the jobs sent in each bucket, seconds; null if no job was sent. */
  waited: (number | null)[]
  /** Median wait of all jobs sent, seconds. */
  medianWait: number | null
}

/** @param minutesPerBucket a divisor of 60 */
export function computeHourStats(
  predictions: Iterable<PredictionTimes>,
  now: number,
  minutesPerBucket = 1,
): HourStats {
  const bucketMs = minutesPerBucket * MINUTE_MS
  const bucketCount = MINUTES / minutesPerBucket
  const end = (Math.floor(now / bucketMs) + 1) * bucketMs
  const start = end - bucketCount * bucketMs
  const zeros = () => Array.from({ length: bucketCount }, () => 0)
  const hour = { submitted: zeros(), finished: zeros(), failed: zeros() }
  const waits = Array.from({ length: bucketCount }, (): number[] => [])

  const bucketOf = (moment: string | null): number =>
    moment === null ? -1 : Math.floor((Date.parse(moment) - start) / bucketMs)
  const add = (counts: number[], moment: string | null) => {
    const bucket = bucketOf(moment)
    if (bucket in counts) counts[bucket] = counts[bucket]! + 1
  }

  for (const { status, createdAt, submittedAt, finishedAt } of predictions) {
    add(hour.submitted, createdAt)
    if (status === 'COMPLETED') add(hour.finished, finishedAt)
    if (status === 'FAILED') add(hour.failed, finishedAt)
    if (submittedAt !== null)
      waits[bucketOf(submittedAt)]?.push((Date.parse(submittedAt) - Date.parse(createdAt)) / 1000)
  }
  return {
    times: waits.map((_, bucket) => (start + bucket * bucketMs) / 1000),
    ...hour,
    waited: waits.map(median),
    medianWait: median(waits.flat()),
  }
}

export function median(values: readonly number[]): number | null {
  if (values.length === 0) return null
  const sorted = [...values].sort((a, b) => a - b)
  const middle = (sorted.length - 1) / 2
  return (sorted[Math.floor(middle)]! + sorted[Math.ceil(middle)]!) / 2
}
