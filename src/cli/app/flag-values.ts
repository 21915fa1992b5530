/**
 * How the values of `npm run app`'s flags are read: from text to a value, or to what was expected instead.
 * Invariant: what is not certainly meant is refused, for a limit read wrongly costs money.
 */
import { z } from 'zod'
import { MICROS_PER_USD } from '../../domain/models.ts'

/** `expected`: the end of a sentence that begins with the flag and its text. */
export type ValueParser<Value> = (text: string, now: number) => { value: Value } | { expected: string }

const MAX_USD = 1_000_000
const UNITS = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const
const MAX_DAYS = 366

export const parseInteger =
  (min: number, max: number): ValueParser<number> =>
  text => {
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN
    return value >= min && value <= max ? { value } : { expected: `a whole number from ${min} to ${max}` }
  }

export const orNone =
  <Value>(parse: ValueParser<Value>): ValueParser<Value | null> =>
  (text, now) => {
    if (text === 'none') return { value: null }
    const result = parse(text, now)
    return 'value' in result ? result : { expected: `${result.expected}, or none` }
  }

/** In micro-USD, without a detour over fractions. */
export const parseDollars: ValueParser<number> = text => {
  const [, units, fraction = ''] = /^(\d+)(?:\.(\d{1,6}))?$/.exec(text) ?? []
  const value = Number(units) * MICROS_PER_USD + Number(fraction.padEnd(6, '0'))
  return value > 0 && value <= MAX_USD * MICROS_PER_USD
    ? { value }
    : { expected: `US dollars like 250 or 12.50, up to ${MAX_USD}, with at most six decimals` }
}

const DATE = z.union([
  z.iso.date(),
  z.iso.datetime({ offset: true }),
  z.iso.datetime({ offset: true, precision: -1 }),
])

/** A day begins, and a moment is told, in UTC or the zone that is given. */
export const parseDate: ValueParser<number> = (text, now) => {
  const value = DATE.safeParse(text).success ? Date.parse(text) : Number.NaN
  if (Number.isNaN(value))
    return { expected: 'a date like 2027-01-31, or a moment with its zone like 2027-01-31T18:00Z' }
  return value > now ? { value } : { expected: 'a date to come; this one is past' }
}

/** In ms. */
export const parseDuration: ValueParser<number> = text => {
  if (text === '0') return { value: 0 }
  const [, count, unit] = /^(\d+)([smhd])$/.exec(text) ?? []
  const value = Number(count) * UNITS[unit as keyof typeof UNITS]
  return value <= MAX_DAYS * UNITS.d
    ? { value }
    : { expected: `a duration like 30m, 24h or 7d, up to ${MAX_DAYS}d, or 0` }
}
