/**
 * The flags of `npm run app`: which verbs they belong to, what they mean, how their values are read. The help and
 * every sentence about them are made from these two tables.
 */
import {
  orNone,
  parseDate,
  parseDollars,
  parseDuration,
  parseInteger,
  type ValueParser,
} from './flag-values.ts'

export const VERBS = {
  create: {
    usage: 'create NAME [LIMITS] [--expires DATE]',
    about: 'Makes an app and its first key, which is shown once.',
  },
  list: { usage: 'list [NAME]', about: 'Shows apps: their limits, what they use of them, their keys.' },
  set: { usage: 'set NAME LIMITS', about: 'Changes the limits that are given, and no other.' },
  rotate: {
    usage: 'rotate NAME [--grace DURATION] [--expires DATE]',
    about: 'Gives an app a new key, shown once; its earlier ones end after the grace.',
  },
  revoke: {
    usage: 'revoke KEY | revoke NAME --all',
    about: 'Takes back one key, or every key of an app. Its connections end.',
  },
} as const
export type Verb = keyof typeof VERBS

export interface Flag {
  verbs: readonly Verb[]
  /** What its value is called; none: it has none. */
  value?: string
  description: string
  parse?: ValueParser<number | null>
}

const MAX_COUNT = 1_000_000
const limitFlag = (value: string, description: string, parse: ValueParser<number | null>): Flag => ({
  verbs: ['create', 'set'],
  value,
  description,
  parse,
})

/** The flag of each limit. */
export const LIMIT_FLAGS = {
  'max-in-flight': 'maxInFlight',
  'max-queued': 'maxQueued',
  'submits-per-minute': 'submitsPerMinute',
  'monthly-budget-usd': 'monthlyBudget',
  weight: 'weight',
} as const

export const FLAGS = {
  'max-in-flight': limitFlag(
    'N',
    'jobs upstream works on at once; more wait',
    orNone(parseInteger(1, MAX_COUNT)),
  ),
  'max-queued': limitFlag('N', 'jobs that may wait; more are refused', orNone(parseInteger(1, MAX_COUNT))),
  'submits-per-minute': limitFlag('N', 'more are refused', orNone(parseInteger(1, MAX_COUNT))),
  'monthly-budget-usd': limitFlag('N', 'for a UTC month, as in 12.50', orNone(parseDollars)),
  weight: limitFlag('N', 'share of scarce slots, 1 to 1000 (default: 1)', parseInteger(1, 1000)),
  expires: {
    verbs: ['create', 'rotate'],
    value: 'DATE',
    description: 'when the new key ends (default: never)',
    parse: parseDate,
  },
  grace: {
    verbs: ['rotate'],
    value: 'DURATION',
    description: 'how long earlier keys hold on (default: 24h)',
    parse: parseDuration,
  },
  all: { verbs: ['revoke'], description: 'every key of the app NAME' },
  json: { verbs: Object.keys(VERBS) as Verb[], description: 'answer for a machine' },
} as const satisfies Record<string, Flag>
export type FlagName = keyof typeof FLAGS

const ALL_FLAGS = Object.entries(FLAGS) as [FlagName, Flag][]
const helpRows = (predicate: (name: string) => boolean): string =>
  ALL_FLAGS.filter(([name]) => predicate(name))
    .map(([name, { value = '', description }]) => `  ${`--${name} ${value}`.padEnd(25)}${description}`)
    .join('\n')

export const HELP = `npm run app -- VERB ...

${Object.values(VERBS)
  .map(({ usage, about }) => `  ${usage}\n      ${about}`)
  .join('\n')}

LIMITS; none is without limit, and the default:
${helpRows(name => name in LIMIT_FLAGS)}

and else:
${helpRows(name => !(name in LIMIT_FLAGS))}

  NAME      1 to 64 letters, digits, dots, dashes or underscores
  KEY       the first 12 characters of a key, as list shows them, or the whole
  DATE      2027-01-31 (its first moment in UTC), or 2027-01-31T18:00Z
  DURATION  30m, 24h, 7d, or 0

The database is that of DATABASE_URL. A gateway that runs on it notices within
five seconds. A fault is a sentence on stderr and exit code 1, with --json too.
For a machine: npm run -s app -- list --json`
