/**
 * The last hour by the minute: how many were submitted, finished and failed, and how long they waited. Pure.
 */
import type { Moments } from './documents.ts'

export const MINUTES = 60
const MINUTE_MS = 60_000

export interface Hour {
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

/** @param step minutes that are taken together; a divisor of 60 */
export function hourOf(moments: Iterable<Moments>, now: number, step = 1): Hour {
  const width = step * MINUTE_MS
  const count = MINUTES / step
  const end = (Math.floor(now / width) + 1) * width
  const begin = end - count * width
  const zeros = () => Array.from({ length: count }, () => 0)
  const hour = { submitted: zeros(), finished: zeros(), failed: zeros() }
  const waits = Array.from({ length: count }, (): number[] => [])

  const placeOf = (moment: string | null): number =>
    moment === null ? -1 : Math.floor((Date.parse(moment) - begin) / width)
  const add = (to: number[], moment: string | null) => {
    const place = placeOf(moment)
    if (place in to) to[place] = to[place]! + 1
  }

  for (const { status, createdAt, submittedAt, finishedAt } of moments) {
    add(hour.submitted, createdAt)
    if (status === 'COMPLETED') add(hour.finished, finishedAt)
    if (status === 'FAILED') add(hour.failed, finishedAt)
    if (submittedAt !== null)
      waits[placeOf(submittedAt)]?.push((Date.parse(submittedAt) - Date.parse(createdAt)) / 1000)
  }
  return {
    times: waits.map((_, place) => (begin + place * width) / 1000),
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
