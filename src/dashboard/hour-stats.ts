/**
 * The last hour by the minute: how many were submitted, finished and failed, and how long they waited. Pure.
 */
import type { PredictionTimes } from './documents.ts'

export const MINUTES = 60
const MINUTE_MS = 60_000

export interface HourStats {
  /** Where the minutes begin, Unix seconds; the last one is still under way. */
  times: number[]
  submitted: number[]
  finished: number[]
  failed: number[]
  /** The median of those sent within each minute, s; null where none was. */
  waited: (number | null)[]
  /** Of all, s. */
  medianWait: number | null
}

/** @param minutesPerBucket minutes that are taken together; a divisor of 60 */
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
