/**
 * How the values of `npm run app`'s flags are read: from text to a value, or to what was expected instead.
 * Invariant: what is not certainly meant is refused, for a limit read wrongly costs money.
 */
import { z } from 'zod'
import { MICRO_USD } from '../../domain/models.ts'

/** `expected`: the end of a sentence that begins with the flag and its text. */
export type Read<Value> = (text: string, now: number) => { value: Value } | { expected: string }

const MOST_USD = 1_000_000
const UNITS = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const
const MOST_DAYS = 366

export const whole =
  (least: number, most: number): Read<number> =>
  text => {
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN
    return value >= least && value <= most
      ? { value }
      : { expected: `a whole number from ${least} to ${most}` }
  }

export const orNone =
  <Value>(read: Read<Value>): Read<Value | null> =>
  (text, now) => {
    if (text === 'none') return { value: null }
    const answer = read(text, now)
    return 'value' in answer ? answer : { expected: `${answer.expected}, or none` }
  }

/** In micro-USD, without a detour over fractions. */
export const dollars: Read<number> = text => {
  const [, units, fraction = ''] = /^(\d+)(?:\.(\d{1,6}))?$/.exec(text) ?? []
  const value = Number(units) * MICRO_USD + Number(fraction.padEnd(6, '0'))
  return value > 0 && value <= MOST_USD * MICRO_USD
    ? { value }
    : { expected: `US dollars like 250 or 12.50, up to ${MOST_USD}, with at most six decimals` }
}

const DATE = z.union([
  z.iso.date(),
  z.iso.datetime({ offset: true }),
  z.iso.datetime({ offset: true, precision: -1 }),
])

/** A day begins, and a moment is told, in UTC or the zone that is given. */
export const moment: Read<number> = (text, now) => {
  const value = DATE.safeParse(text).success ? Date.parse(text) : Number.NaN
  if (Number.isNaN(value))
    return { expected: 'a date like 2027-01-31, or a moment with its zone like 2027-01-31T18:00Z' }
  return value > now ? { value } : { expected: 'a date to come; this one is past' }
}

/** In ms. */
export const duration: Read<number> = text => {
  if (text === '0') return { value: 0 }
  const [, count, unit] = /^(\d+)([smhd])$/.exec(text) ?? []
  const value = Number(count) * UNITS[unit as keyof typeof UNITS]
  return value <= MOST_DAYS * UNITS.d
    ? { value }
    : { expected: `a duration like 30m, 24h or 7d, up to ${MOST_DAYS}d, or 0` }
}
