/**
 * The flags of `npm run app`: which verbs they belong to, what they mean, how their values are read. The help and
 * every sentence about them are made from these two tables.
 */
import { dollars, duration, moment, orNone, type Read, whole } from './flag-values.ts'

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
  about: string
  read?: Read<number | null>
}

const MOST = 1_000_000
const limit = (value: string, about: string, read: Read<number | null>): Flag => ({
  verbs: ['create', 'set'],
  value,
  about,
  read,
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
  'max-in-flight': limit('N', 'jobs upstream works on at once; more wait', orNone(whole(1, MOST))),
  'max-queued': limit('N', 'jobs that may wait; more are refused', orNone(whole(1, MOST))),
  'submits-per-minute': limit('N', 'more are refused', orNone(whole(1, MOST))),
  'monthly-budget-usd': limit('N', 'for a UTC month, as in 12.50', orNone(dollars)),
  weight: limit('N', 'share of scarce slots, 1 to 1000 (default: 1)', whole(1, 1000)),
  expires: {
    verbs: ['create', 'rotate'],
    value: 'DATE',
    about: 'when the new key ends (default: never)',
    read: moment,
  },
  grace: {
    verbs: ['rotate'],
    value: 'DURATION',
    about: 'how long earlier keys hold on (default: 24h)',
    read: duration,
  },
  all: { verbs: ['revoke'], about: 'every key of the app NAME' },
  json: { verbs: Object.keys(VERBS) as Verb[], about: 'answer for a machine' },
} as const satisfies Record<string, Flag>
export type FlagName = keyof typeof FLAGS

const ALL = Object.entries(FLAGS) as [FlagName, Flag][]
const rowsOf = (wanted: (name: string) => boolean): string =>
  ALL.filter(([name]) => wanted(name))
    .map(([name, { value = '', about }]) => `  ${`--${name} ${value}`.padEnd(25)}${about}`)
    .join('\n')

export const HELP = `npm run app -- VERB ...

${Object.values(VERBS)
  .map(({ usage, about }) => `  ${usage}\n      ${about}`)
  .join('\n')}

LIMITS; none is without limit, and the default:
${rowsOf(name => name in LIMIT_FLAGS)}

and else:
${rowsOf(name => !(name in LIMIT_FLAGS))}

  NAME      1 to 64 letters, digits, dots, dashes or underscores
  KEY       the first 12 characters of a key, as list shows them, or the whole
  DATE      2027-01-31 (its first moment in UTC), or 2027-01-31T18:00Z
  DURATION  30m, 24h, 7d, or 0

The database is that of DATABASE_URL. A gateway that runs on it notices within
five seconds. A fault is a sentence on stderr and exit code 1, with --json too.
For a machine: npm run -s app -- list --json`
