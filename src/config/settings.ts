/**
 * The settings: name, default, unit and meaning stand here and nowhere else in code, and how each value is read.
 * Invariant: no message about a value carries it where it may be a secret.
 */
import { isIP } from 'node:net'
import { compile } from 'proxy-addr'
import { z } from 'zod'

const count = (least: number, most: number) =>
  z
    .string()
    .regex(/^\d+$/, 'expected a whole number')
    .transform(Number)
    .refine(n => n >= least && n <= most, `expected ${least} to ${most}`)

const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const

const DAY_MS = 24 * 60 * 60 * 1000

/** Name → default as the README prints it, meaning, and how it is read. */
export const SETTINGS = {
  HOST: {
    fallback: '127.0.0.1',
    about: 'Address to listen on.',
    read: z
      .string()
      .refine(host => isIP(host) > 0 || /^[a-z\d.-]+$/i.test(host), 'expected an address or a host name'),
  },
  PORT: { fallback: '4000', about: 'Port to listen on; `0` takes a free one.', read: count(0, 65_535) },
  DATABASE_URL: {
    fallback: 'file:data/rushes.db',
    about: 'The SQLite file. A database belongs to one upstream and refuses to start with another.',
    read: z.string().transform(databaseFile),
  },
  WAVESPEED_API_KEY: {
    fallback: undefined,
    about:
      'Key of the upstream account. Without it the simulator starts beside the gateway and nothing is charged.',
    read: z
      .string()
      .regex(/^[\x21-\x7e]+$/, 'expected printable characters without spaces')
      .optional(),
  },
  WAVESPEED_BASE_URL: {
    fallback: 'https://api.wavespeed.ai',
    about: 'Upstream. Plain `http` on loopback only.',
    read: z.string().transform(baseUrl),
  },
  PUBLIC_URL: {
    fallback: undefined,
    about:
      'Where upstream, and whoever looks at an upload, reaches this gateway. With it and a secret, submits ask for a webhook at `PUBLIC_URL/webhooks/wavespeed`. Plain `http` on loopback only.',
    read: z
      .string()
      .transform((text, context) =>
        webUrl(text, context, 'plain http would show the tokens of webhooks to the network'),
      )
      .optional(),
  },
  WAVESPEED_WEBHOOK_SECRET: {
    fallback: undefined,
    about:
      "The account's webhook secrets, comma-separated for rotation. Without one no webhook is asked for and every one is refused.",
    read: z.string().optional().transform(secrets),
  },
  UPSTREAM_CONCURRENCY: {
    fallback: '3',
    about: "Videos at once, the account's tier (Bronze: 3). Unlimited on the simulator unless set.",
    read: count(1, 1_000_000),
  },
  UPSTREAM_SUBMITS_PER_MINUTE: {
    fallback: '5',
    about: "Submits in any 60 s, the account's tier (Bronze: 5). Unlimited on the simulator unless set.",
    read: count(1, 1_000_000),
  },
  UPSTREAM_SUBMIT_TIMEOUT_MS: {
    fallback: '60000',
    about: "A submit may take so long to be answered; then it isn't known whether it was taken.",
    read: count(100, 10 * 60_000),
  },
  UPSTREAM_READ_TIMEOUT_MS: {
    fallback: '15000',
    about: 'A look at a job may take so long; then it is repeated.',
    read: count(100, 10 * 60_000),
  },
  UPSTREAM_UNKNOWN_MS: {
    fallback: '600000',
    about:
      'A submit without an answer is looked for so long, then it is FAILED with `SUBMISSION_UNKNOWN`, and still looked for for seven days.',
    read: count(100, DAY_MS),
  },
  UPSTREAM_DEADLINE_MS: {
    fallback: '3600000',
    about:
      'A job that upstream has not ended by then is FAILED with `TIMED_OUT`, gives up its place, and is still looked at for seven days.',
    read: count(100, 7 * DAY_MS),
  },
  POLL_MIN_INTERVAL_MS: {
    fallback: '1000',
    about: 'A job is looked at no more often than this.',
    read: count(50, DAY_MS),
  },
  POLL_MAX_INTERVAL_MS: {
    fallback: '15000',
    about: 'Once a job is likely done, it is looked at no less often than this.',
    read: count(50, DAY_MS),
  },
  ALLOW_PRIVATE_IMAGE_HOSTS: {
    fallback: undefined,
    about:
      '`1` lets image URLs lead to loopback and private addresses: for development. On with the simulator.',
    read: z.enum(['0', '1'], 'expected 1 or 0').optional(),
  },
  EVENT_RETENTION_HOURS: {
    fallback: '168',
    about: 'Events older than this are pruned; a cursor from before them gets `FeedGap`.',
    read: count(1, 24 * 366 * 10),
  },
  MAX_CONNECTIONS_PER_APP: {
    fallback: '5000',
    about: 'WebSockets and event streams an app may have open. One more is closed with 1013, or gets a 429.',
    read: count(1, 1_000_000),
  },
  MAX_SUBSCRIPTIONS_PER_CONNECTION: {
    fallback: '100',
    about: 'One more gets the error `TOO_MANY_SUBSCRIPTIONS`; the others go on.',
    read: count(1, 1_000_000),
  },
  MAX_OPERATIONS_PER_SECOND: {
    fallback: '200',
    about: 'Operations a WebSocket may begin in a second. One more gets the error `TOO_MANY_OPERATIONS`.',
    read: count(1, 1_000_000),
  },
  MAX_MESSAGE_BYTES: {
    fallback: '1048576',
    about:
      'A WebSocket message or a request body may be so long. A longer one is closed with 1009, or gets a 413.',
    read: count(1024, 64 * 1024 * 1024),
  },
  MAX_UPLOAD_BYTES_PER_APP: {
    fallback: '1073741824',
    about:
      'Bytes of uploaded images that an app may keep; each counts for at least 64 KiB. One more gets `RateLimitedError` until some have expired.',
    read: count(1024, 1024 ** 4),
  },
  MAX_UPLOADS_PER_MINUTE_PER_APP: {
    fallback: '120',
    about:
      'Forms with a file that an app, its tokens among it, may send; a token a tenth of them, and in its life four for each submit it may have. One more gets a 429 with `RATE_LIMITED`, and is not read.',
    read: count(1, 1_000_000_000),
  },
  MAX_QUERY_COST: {
    fallback: '10000',
    about:
      'A field costs 1, one that reads the database 5, a mutation 50, and a page multiplies what is in it by `first` or `last`. What costs more gets `QUERY_TOO_COMPLEX`, and nothing of it runs.',
    read: count(100, 1_000_000_000),
  },
  MAX_QUERY_DEPTH: {
    fallback: '15',
    about: 'Fields may stand so deep in one another. What is deeper gets `QUERY_TOO_COMPLEX`.',
    read: count(3, 50),
  },
  ALLOW_INTROSPECTION: {
    fallback: undefined,
    about:
      '`1` lets apps read the schema from the gateway, and hints at what may have been meant. On with the simulator.',
    read: z.enum(['0', '1'], 'expected 1 or 0').optional(),
  },
  MAX_CONNECTIONS: {
    fallback: '20000',
    about: 'Sockets in all. One more is closed at once.',
    read: count(1, 10_000_000),
  },
  MAX_CONNECTIONS_PER_ADDRESS: {
    fallback: '5000',
    about:
      'Sockets of one address, or of one IPv6 /64. One more is closed at once. Behind a trusted proxy requests and WebSockets that are open count, and one more gets a 429.',
    read: count(1, 10_000_000),
  },
  MAX_REQUESTS_PER_MINUTE_PER_ADDRESS: {
    fallback: '60000',
    about: 'HTTP requests and upgrades, whoever asks. One more gets a 429 with `RATE_LIMITED`.',
    read: count(1, 1_000_000_000),
  },
  MAX_REQUESTS_PER_MINUTE_PER_KEY: {
    fallback: '60000',
    about:
      "A key's HTTP requests, `connection_init`s and WebSocket operations. One more gets `RATE_LIMITED`.",
    read: count(1, 1_000_000_000),
  },
  MAX_WRONG_KEYS_PER_MINUTE: {
    fallback: '20',
    about:
      'After so many keys that are none, each answer to an address takes a second more for the rest of the minute, and over a hundred at once get `RATE_LIMITED`. Keys known to be good go on.',
    read: count(1, 1_000_000_000),
  },
  TRUSTED_PROXIES: {
    fallback: undefined,
    about:
      'Addresses or networks whose `X-Forwarded-For` is believed, comma-separated (`10.0.0.0/8`; also `loopback`, `linklocal`, `uniquelocal`).',
    read: z.string().optional().transform(proxies),
  },
  ALLOWED_ORIGINS: {
    fallback: undefined,
    about: 'Origins of browser pages that may call, comma-separated (`https://app.example`).',
    read: z.string().optional().transform(origins),
  },
  METRICS_TOKEN: {
    fallback: undefined,
    about:
      '`/metrics` answers to `Authorization: Bearer <token>` from anywhere; without it on loopback only.',
    read: z
      .string()
      .regex(/^[\x21-\x7e]{16,}$/, 'expected at least 16 printable characters')
      .optional(),
  },
  LOG_LEVEL: {
    fallback: 'info',
    about: `One of ${LOG_LEVELS.map(level => `\`${level}\``).join(', ')}.`,
    read: z.enum(LOG_LEVELS, `expected one of ${LOG_LEVELS.join(', ')}`),
  },
} as const satisfies Record<string, { fallback: string | undefined; about: string; read: z.ZodType }>

/** An empty value means "not set", as a line `NAME=` in an environment file does. */
export const given = (value: string | undefined) =>
  value === undefined || value.trim() === '' ? undefined : value.trim()

function databaseFile(url: string, context: z.RefinementCtx): string {
  if (/^postgres(ql)?:/.test(url)) return refuse(context, 'PostgreSQL is not supported yet; use file:PATH')
  const path = /^file:(?:\/\/(?=\/))?(.+)$/.exec(url)?.[1]
  if (path === undefined || path.startsWith('//'))
    return refuse(context, 'expected file:PATH, as in file:data/rushes.db')
  return path
}

function baseUrl(text: string, context: z.RefinementCtx): string {
  // The vendor's own pages name the base with the API's path.
  const url = webUrl(text, context, 'plain http would show the key to the network')
  return typeof url === 'string' ? url.replace(/\/api\/v3$/, '') : url
}

/** Without a slash at its end. */
function webUrl(text: string, context: z.RefinementCtx, why: string): string {
  const url = URL.parse(text)
  if (url === null || !['http:', 'https:'].includes(url.protocol))
    return refuse(context, 'expected an https:// URL')
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '')
    return refuse(context, 'expected no user name, password, query or fragment')
  if (url.protocol === 'http:' && !isLoopbackName(url.hostname))
    return refuse(context, `${why}; it is for loopback only`)
  return (url.origin + url.pathname).replace(/\/+$/, '')
}

const isLoopbackName = (host: string) =>
  host === 'localhost' || host === '[::1]' || /^127(\.\d+){3}$/.test(host)

function secrets(list: string | undefined, context: z.RefinementCtx): string[] {
  const entries = (list ?? '').split(',').flatMap(entry => given(entry) ?? [])
  // Not named: it would stand in the message.
  if (entries.some(entry => !/^whsec_[\x21-\x7e]{8,}$/.test(entry)))
    refuse(context, 'expected whsec_…, or several with commas between')
  return entries
}

function origins(list: string | undefined, context: z.RefinementCtx): string[] {
  const entries = (list ?? '').split(',').flatMap(entry => given(entry) ?? [])
  for (const entry of entries)
    if (URL.parse(entry)?.origin !== entry)
      refuse(context, `"${entry}" is no origin; expected one like https://app.example`)
  return entries
}

function proxies(list: string | undefined, context: z.RefinementCtx): string[] {
  const entries = (list ?? '').split(',').flatMap(entry => given(entry) ?? [])
  for (const entry of entries)
    try {
      compile(entry)
    } catch {
      refuse(context, `"${entry}" is no address; expected one like 10.0.0.1, or 10.0.0.0/8`)
    }
  return entries
}

function refuse(context: z.RefinementCtx, message: string): never {
  context.addIssue({ code: 'custom', message })
  return z.NEVER
}
