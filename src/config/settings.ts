/**
 * All settings: name, default, description and schema. They stand nowhere else in code.
 * Invariant: no message contains a value that may be a secret.
 */
import { isIP } from 'node:net'
import { compile } from 'proxy-addr'
import { z } from 'zod'
import { findDatabaseUrlFault } from '../domain/database-url.ts'
import { DAY_MS, MINUTE_MS } from '../domain/time.ts'

const integer = (min: number, max: number) =>
  z
    .string()
    .regex(/^\d+$/, 'expected a whole number')
    .transform(Number)
    .refine(n => n >= min && n <= max, `expected ${min} to ${max}`)

const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const

/** Name to default, description and schema. The README prints the first two. */
export const SETTINGS = {
  HOST: {
    default: '127.0.0.1',
    description: 'Address to listen on.',
    schema: z
      .string()
      .refine(host => isIP(host) > 0 || /^[a-z\d.-]+$/i.test(host), 'expected an address or a host name'),
  },
  PORT: {
    default: '4000',
    description: 'Port to listen on; `0` takes a free one.',
    schema: integer(0, 65_535),
  },
  DATABASE_URL: {
    default: 'file:data/rushes.db',
    description: 'The SQLite file. A database belongs to one upstream and refuses to start with another.',
    schema: z.string().superRefine(validateDatabaseUrl),
  },
  WAVESPEED_API_KEY: {
    default: undefined,
    description:
      'Key of the upstream account. Without it the simulator starts beside the gateway and nothing is charged.',
    schema: z
      .string()
      .regex(/^[\x21-\x7e]+$/, 'expected printable characters without spaces')
      .optional(),
  },
  WAVESPEED_BASE_URL: {
    default: 'https://api.wavespeed.ai',
    description: 'Upstream. Plain `http` on loopback only.',
    schema: z.string().transform(parseBaseUrl),
  },
  PUBLIC_URL: {
    default: undefined,
    description:
      'Base URL at which upstream, and viewers of an uploaded image, reach this gateway. With it and a webhook secret, submits request a webhook at `PUBLIC_URL/webhooks/wavespeed`. Plain `http` on loopback only.',
    schema: z
      .string()
      .transform((text, context) =>
        parseWebUrl(text, context, 'plain http would show the tokens of webhooks to the network'),
      )
      .optional(),
  },
  WAVESPEED_WEBHOOK_SECRET: {
    default: undefined,
    description:
      "The account's webhook secrets, comma-separated for rotation. Without one no webhook is requested and every webhook is rejected.",
    schema: z.string().optional().transform(parseSecrets),
  },
  UPSTREAM_CONCURRENCY: {
    default: '3',
    description:
      "Max concurrent videos, the account's tier (Bronze: 3). Unlimited on the simulator unless set.",
    schema: integer(1, 1_000_000),
  },
  UPSTREAM_SUBMITS_PER_MINUTE: {
    default: '5',
    description:
      "Max submits in any 60 s, the account's tier (Bronze: 5). Unlimited on the simulator unless set.",
    schema: integer(1, 1_000_000),
  },
  UPSTREAM_SUBMIT_TIMEOUT_MS: {
    default: '60000',
    description:
      'Timeout of a submit. After it the outcome is unknown: the gateway searches for the job and does not send it again.',
    schema: integer(100, 10 * MINUTE_MS),
  },
  UPSTREAM_READ_TIMEOUT_MS: {
    default: '15000',
    description: 'Timeout of a poll or another read. After it the read is retried.',
    schema: integer(100, 10 * MINUTE_MS),
  },
  UPSTREAM_UNKNOWN_MS: {
    default: '600000',
    description:
      'Max time to search for a submit without an answer before the prediction is FAILED with `SUBMISSION_UNKNOWN`. The search goes on for seven days.',
    schema: integer(100, DAY_MS),
  },
  UPSTREAM_DEADLINE_MS: {
    default: '3600000',
    description:
      'Max time for upstream to end a job. After it the prediction is FAILED with `TIMED_OUT` and releases its slot. It is polled for seven days.',
    schema: integer(100, 7 * DAY_MS),
  },
  HOLD_SUBMITS: {
    default: '0',
    description:
      '`1` holds all submits from the start: jobs stay `QUEUED`, everything else goes on. `npm run app -- release` ends the hold; a start without the setting does not.',
    schema: z.enum(['0', '1'], 'expected 1 or 0'),
  },
  POLL_MIN_INTERVAL_MS: {
    default: '1000',
    description: 'Min time between polls of a job.',
    schema: integer(50, DAY_MS),
  },
  POLL_MAX_INTERVAL_MS: {
    default: '15000',
    description: 'Max time between polls of a job, once it is likely done.',
    schema: integer(50, DAY_MS),
  },
  ALLOW_PRIVATE_IMAGE_HOSTS: {
    default: undefined,
    description:
      '`1` allows image URLs on loopback and private addresses: for development. On with the simulator.',
    schema: z.enum(['0', '1'], 'expected 1 or 0').optional(),
  },
  EVENT_RETENTION_HOURS: {
    default: '168',
    description: 'Age at which events are deleted. A cursor from before them gets `FeedGap`.',
    schema: integer(1, 24 * 366 * 10),
  },
  MAX_CONNECTIONS_PER_APP: {
    default: '5000',
    description:
      'Max open WebSockets and event streams of an app. Above it: a WebSocket is closed with 1013, an event stream gets a 429.',
    schema: integer(1, 1_000_000),
  },
  MAX_SUBSCRIPTIONS_PER_CONNECTION: {
    default: '100',
    description:
      'Max subscriptions of a WebSocket. Above it: the error `TOO_MANY_SUBSCRIPTIONS`; the others continue.',
    schema: integer(1, 1_000_000),
  },
  MAX_OPERATIONS_PER_SECOND: {
    default: '200',
    description:
      'Max operations that a WebSocket starts in a second. Above it: the error `TOO_MANY_OPERATIONS`.',
    schema: integer(1, 1_000_000),
  },
  MAX_MESSAGE_BYTES: {
    default: '1048576',
    description:
      'Max bytes of a WebSocket message or a request body. Above it: the WebSocket is closed with 1009, the request gets a 413.',
    schema: integer(1024, 64 * 1024 * 1024),
  },
  MAX_UPLOAD_BYTES_PER_APP: {
    default: '1073741824',
    description:
      'Max bytes of uploaded images kept for an app; each image counts for at least 64 KiB. Above it: `RateLimitedError` until some have expired.',
    schema: integer(1024, 1024 ** 4),
  },
  MAX_UPLOADS_PER_MINUTE_PER_APP: {
    default: '120',
    description:
      'Max uploads of an app and its tokens in a minute. A token may send a tenth of them, and in its lifetime four for each submit that it grants. Above it: a 429 with `RATE_LIMITED`; the body is not read.',
    schema: integer(1, 1_000_000_000),
  },
  MAX_QUERY_COST: {
    default: '10000',
    description:
      'Max cost of an operation. A field costs 1, a field that reads the database 5, a mutation 50, and a page multiplies the cost of its items by `first` or `last`. Above it: `QUERY_TOO_COMPLEX`; nothing is executed.',
    schema: integer(100, 1_000_000_000),
  },
  MAX_QUERY_DEPTH: {
    default: '15',
    description: 'Maximum nesting depth of a query. Deeper queries get `QUERY_TOO_COMPLEX`.',
    schema: integer(3, 50),
  },
  ALLOW_INTROSPECTION: {
    default: undefined,
    description:
      '`1` lets apps read the schema from the gateway, and get "did you mean" hints. On with the simulator.',
    schema: z.enum(['0', '1'], 'expected 1 or 0').optional(),
  },
  MAX_CONNECTIONS: {
    default: '20000',
    description:
      'Max sockets in total, and at most as many as leave 256 of the files that the process may open (`ulimit -n`), plus `UPSTREAM_CONCURRENCY`, or half of them. Above it: a new socket is closed at once.',
    schema: integer(1, 10_000_000),
  },
  MAX_CONNECTIONS_PER_ADDRESS: {
    default: '5000',
    description:
      'Max sockets of a client address, or of an IPv6 /64. Above it: a new socket is closed at once. Behind a trusted proxy, open requests and WebSockets count instead. Above it: 429.',
    schema: integer(1, 10_000_000),
  },
  MAX_REQUESTS_PER_MINUTE_PER_ADDRESS: {
    default: '60000',
    description:
      'Max HTTP requests and upgrades of a client address in a minute, with any key or none. Above it: a 429 with `RATE_LIMITED`.',
    schema: integer(1, 1_000_000_000),
  },
  MAX_REQUESTS_PER_MINUTE_PER_KEY: {
    default: '60000',
    description:
      'Max HTTP requests, `connection_init`s and WebSocket operations of a key in a minute. Above it: `RATE_LIMITED`.',
    schema: integer(1, 1_000_000_000),
  },
  MAX_WRONG_KEYS_PER_MINUTE: {
    default: '20',
    description:
      'Max invalid credentials from a client address in a minute. Above it: each response takes a second longer for the rest of the minute, and more than a hundred at once get `RATE_LIMITED`. Credentials known to be valid are not delayed.',
    schema: integer(1, 1_000_000_000),
  },
  TRUSTED_PROXIES: {
    default: undefined,
    description:
      'Addresses or networks whose `X-Forwarded-For` is trusted, comma-separated (`10.0.0.0/8`; also `loopback`, `linklocal`, `uniquelocal`).',
    schema: z.string().optional().transform(parseProxies),
  },
  ALLOWED_ORIGINS: {
    default: undefined,
    description:
      'Origins of browser pages that may call the gateway, comma-separated (`https://app.example`).',
    schema: z.string().optional().transform(parseOrigins),
  },
  METRICS_TOKEN: {
    default: undefined,
    description:
      'With it `/metrics` answers to `Authorization: Bearer <token>` from any address; without it on loopback only.',
    schema: z
      .string()
      .regex(/^[\x21-\x7e]{16,}$/, 'expected at least 16 printable characters')
      .optional(),
  },
  LOG_LEVEL: {
    default: 'info',
    description: `One of ${LOG_LEVELS.map(level => `\`${level}\``).join(', ')}.`,
    schema: z.enum(LOG_LEVELS, `expected one of ${LOG_LEVELS.join(', ')}`),
  },
} as const satisfies Record<string, { default: string | undefined; description: string; schema: z.ZodType }>

/** An empty value means "not set", as a line `NAME=` in an environment file does. */
export const valueOrUndefined = (value: string | undefined) =>
  value === undefined || value.trim() === '' ? undefined : value.trim()

/** The entries of a comma-separated list. */
const splitList = (list = '') => list.split(',').flatMap(entry => valueOrUndefined(entry) ?? [])

function validateDatabaseUrl(url: string, context: z.RefinementCtx): void {
  const fault = findDatabaseUrlFault(url)
  if (fault !== null) reject(context, fault)
}

function parseBaseUrl(text: string, context: z.RefinementCtx): string {
  // The vendor's own pages give the base URL with the API's path.
  const url = parseWebUrl(text, context, 'plain http would show the key to the network')
  return typeof url === 'string' ? url.replace(/\/api\/v3$/, '') : url
}

/** The URL without a trailing slash. */
function parseWebUrl(text: string, context: z.RefinementCtx, insecureReason: string): string {
  const url = URL.parse(text)
  if (url === null || !['http:', 'https:'].includes(url.protocol))
    return reject(context, 'expected an https:// URL')
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '')
    return reject(context, 'expected no user name, password, query or fragment')
  if (url.protocol === 'http:' && !isLoopbackName(url.hostname))
    return reject(context, `${insecureReason}; it is for loopback only`)
  return (url.origin + url.pathname).replace(/\/+$/, '')
}

const isLoopbackName = (host: string) =>
  host === 'localhost' || host === '[::1]' || /^127(\.\d+){3}$/.test(host)

function parseSecrets(list: string | undefined, context: z.RefinementCtx): string[] {
  const entries = splitList(list)
  // The message does not name the entry: it is a secret.
  if (entries.some(entry => !/^whsec_[\x21-\x7e]{8,}$/.test(entry)))
    reject(context, 'expected whsec_…, or several with commas between')
  return entries
}

function parseOrigins(list: string | undefined, context: z.RefinementCtx): string[] {
  const entries = splitList(list)
  for (const entry of entries)
    if (URL.parse(entry)?.origin !== entry)
      reject(context, `"${entry}" is not an origin; expected one like https://app.example`)
  return entries
}

function parseProxies(list: string | undefined, context: z.RefinementCtx): string[] {
  const entries = splitList(list)
  for (const entry of entries)
    try {
      compile(entry)
    } catch {
      reject(context, `"${entry}" is not an address; expected one like 10.0.0.1, or 10.0.0.0/8`)
    }
  return entries
}

function reject(context: z.RefinementCtx, message: string): never {
  context.addIssue({ code: 'custom', message })
  return z.NEVER
}
