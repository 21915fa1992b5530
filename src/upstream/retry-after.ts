/**
 * The wait that upstream asks for, in responses to submits and to reads. Pure.
 */
import { HOUR_MS } from '../domain/time.ts'

const MAX_RETRY_AFTER_MS = HOUR_MS

/**
 * Parses `Retry-After` (seconds or a date) to ms from now; null if absent or invalid. Clamped to 1 s …
 * MAX_RETRY_AFTER_MS.
 */
export function parseRetryAfter(header: string | null, now: number): number | null {
  const text = header?.trim() ?? ''
  const isDate = /^[a-z]{3}/i.test(text)
  const ms = /^\d+$/.test(text) ? Number(text) * 1000 : isDate ? Date.parse(text) - now : Number.NaN
  return Number.isNaN(ms) ? null : Math.min(Math.max(ms, 1000), MAX_RETRY_AFTER_MS)
}
