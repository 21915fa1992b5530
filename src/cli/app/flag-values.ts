/**
 * Parsers for the flag values of `npm run app`: from a text to a value, or to a description of what was expected.
 * Invariant: an ambiguous text is refused, because a limit that is read wrongly costs money.
 */
import { z } from 'zod'
import { MICROS_PER_USD } from '../../domain/models.ts'
import { DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS } from '../../domain/time.ts'

/** `expected` completes a sentence that begins with the flag and its text. */
export type ValueParser<Value> = (text: string, now: number) => { value: Value } | { expected: string }

const MAX_USD = 1_000_000
const UNITS = { s: SECOND_MS, m: MINUTE_MS, h: HOUR_MS, d: DAY_MS } as const
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

/** The value is in micro-USD, computed without floating-point fractions. */
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

/** A date means its first moment in UTC. A date with a time needs its zone. */
const parseDateThat =
  (isAllowed: (value: number, now: number) => boolean, expected: string): ValueParser<number> =>
  (text, now) => {
    const value = DATE.safeParse(text).success ? Date.parse(text) : Number.NaN
    if (Number.isNaN(value))
      return { expected: 'a date like 2027-01-31, or a time with its zone like 2027-01-31T18:00Z' }
    return isAllowed(value, now) ? { value } : { expected }
  }
export const parseDate = parseDateThat((value, now) => value > now, 'a date in the future')
export const parsePastDate = parseDateThat((value, now) => value <= now, 'a date in the past')

/** The value is in ms. */
export const parseDuration: ValueParser<number> = text => {
  if (text === '0') return { value: 0 }
  const [, count, unit] = /^(\d+)([smhd])$/.exec(text) ?? []
  const value = Number(count) * UNITS[unit as keyof typeof UNITS]
  return value <= MAX_DAYS * UNITS.d
    ? { value }
    : { expected: `a duration like 30m, 24h or 7d, up to ${MAX_DAYS}d, or 0` }
}
