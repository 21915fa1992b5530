/**
 * The verbs and flags of `npm run app`. The help and every message about them are built from these two tables.
 */
import {
  orNone,
  parseDate,
  parseDollars,
  parseDuration,
  parseInteger,
  parsePastDate,
  type ValueParser,
} from './flag-values.ts'

export const VERBS = {
  create: {
    usage: 'create NAME [LIMITS] [--expires DATE]',
    description: 'Creates an app and its first key, which is shown once.',
  },
  list: { usage: 'list [NAME]', description: 'Shows apps: their limits, their usage, their keys.' },
  set: { usage: 'set NAME LIMITS', description: 'Changes the given limits, and no other.' },
  rotate: {
    usage: 'rotate NAME [--grace DURATION] [--expires DATE]',
    description: 'Creates a new key, shown once. Earlier keys expire after the grace period.',
  },
  revoke: {
    usage: 'revoke KEY | revoke NAME --all',
    description: 'Revokes one key, or every key of an app. Their connections are closed.',
  },
  hold: {
    usage: 'hold [--why TEXT]',
    description: 'Holds all submits: jobs stay QUEUED, everything else goes on.',
  },
  release: {
    usage: 'release | release ID ...',
    description: 'Ends the hold of all submits, or that of single jobs.',
  },
  queue: {
    usage: 'queue [--held]',
    description: 'Counts the jobs that wait, or lists those that are held by themselves.',
  },
  cancel: { usage: 'cancel ID ...', description: 'Cancels jobs that are held by themselves.' },
  backup: {
    usage: 'backup FILE',
    description: 'Copies the database to a new file, also beside a gateway, and checks it.',
  },
  restored: {
    usage: 'restored [--keep-keys | --revoke-since DATE]',
    description:
      'Declares that the database is an earlier copy of itself, if no start has\n      noticed it, and says what to decide.',
  },
} as const
export type Verb = keyof typeof VERBS

/** How many arguments a verb takes; for the others it is exactly one. */
export const ARGUMENT_COUNTS: { readonly [Name in Verb]?: { min: number; max: number } } = {
  list: { min: 0, max: 1 },
  hold: { min: 0, max: 0 },
  release: { min: 0, max: Infinity },
  queue: { min: 0, max: 0 },
  cancel: { min: 1, max: Infinity },
  restored: { min: 0, max: 0 },
}

export interface Flag {
  verbs: readonly Verb[]
  /** Name of its value; undefined if it takes none. */
  value?: string
  description: string
  /** Undefined: the value is the text itself. */
  parse?: ValueParser<number | null>
}

const MAX_COUNT = 1_000_000
const limitFlag = (value: string, description: string, parse: ValueParser<number | null>): Flag => ({
  verbs: ['create', 'set'],
  value,
  description,
  parse,
})

/** The limit that each flag sets. */
export const LIMIT_FLAGS = {
  'max-in-flight': 'maxInFlight',
  'max-queued': 'maxQueued',
  'submits-per-minute': 'submitsPerMinute',
  'monthly-budget-usd': 'monthlyBudget',
  weight: 'weight',
} as const

export const FLAGS = {
  'max-in-flight': limitFlag('N', 'max jobs at upstream; more wait', orNone(parseInteger(1, MAX_COUNT))),
  'max-queued': limitFlag('N', 'max jobs that wait; more are refused', orNone(parseInteger(1, MAX_COUNT))),
  'submits-per-minute': limitFlag(
    'N',
    'max submits a minute; more are refused',
    orNone(parseInteger(1, MAX_COUNT)),
  ),
  'monthly-budget-usd': limitFlag('N', 'US dollars per UTC month, for example 12.50', orNone(parseDollars)),
  weight: limitFlag('N', 'share of scarce slots, 1 to 1000 (default: 1)', parseInteger(1, 1000)),
  expires: {
    verbs: ['create', 'rotate'],
    value: 'DATE',
    description: 'when the new key expires (default: never)',
    parse: parseDate,
  },
  grace: {
    verbs: ['rotate'],
    value: 'DURATION',
    description: 'how long earlier keys stay valid (default: 24h)',
    parse: parseDuration,
  },
  why: { verbs: ['hold'], value: 'TEXT', description: 'the reason, for the log' },
  held: { verbs: ['queue'], description: 'the jobs that are held by themselves' },
  'keep-keys': { verbs: ['restored'], description: 'every key of the copy stays valid' },
  'revoke-since': {
    verbs: ['restored'],
    value: 'DATE',
    description: 'revokes the keys created since then',
    parse: parsePastDate,
  },
  all: { verbs: ['revoke'], description: 'every key of the app NAME' },
  json: { verbs: Object.keys(VERBS) as Verb[], description: 'prints JSON' },
} as const satisfies Record<string, Flag>
export type FlagName = keyof typeof FLAGS

const ALL_FLAGS = Object.entries(FLAGS) as [FlagName, Flag][]
const helpRows = (predicate: (name: string) => boolean): string =>
  ALL_FLAGS.filter(([name]) => predicate(name))
    .map(([name, { value = '', description }]) => `  ${`--${name} ${value}`.padEnd(25)}${description}`)
    .join('\n')

export const HELP = `npm run app -- VERB ...

${Object.values(VERBS)
  .map(({ usage, description }) => `  ${usage}\n      ${description}`)
  .join('\n')}

LIMITS ("none", the default, means no limit):
${helpRows(name => name in LIMIT_FLAGS)}

Other flags:
${helpRows(name => !(name in LIMIT_FLAGS))}

  NAME      1 to 64 letters, digits, dots, dashes or underscores
  KEY       the first 12 characters of a key, as list shows them, or all of it
  DATE      2027-01-31 (its first moment in UTC), or 2027-01-31T18:00Z
  DURATION  30m, 24h, 7d, or 0

The database is the one of DATABASE_URL. A running gateway applies changes
within five seconds, a hold before its next submit. Errors go to stderr, with
exit code 1, also with --json.
In a script: npm run -s app -- list --json`
