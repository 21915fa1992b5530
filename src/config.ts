/**
 * Environment → one frozen Config. Every fault is found before anything starts, and all are told at once.
 * `SETTINGS` is the whole table: name, default, unit and meaning stand here and nowhere else in code.
 */
import { isIP } from 'node:net'
import { closest, distance } from 'fastest-levenshtein'
import { z } from 'zod'
import { StartError } from './errors.ts'

export interface Config {
  readonly host: string
  readonly port: number
  /** Where the database file is; a path, or `:memory:`. */
  readonly databaseFile: string
  /** Null: the simulator starts beside the gateway and is the upstream. */
  readonly upstream: { readonly baseUrl: string; readonly apiKey: string } | null
  /** Null: without limit. */
  readonly upstreamConcurrency: number | null
  readonly upstreamSubmitsPerMinute: number | null
  readonly pollMinIntervalMs: number
  readonly pollMaxIntervalMs: number
  readonly eventRetentionHours: number
  readonly maxConnectionsPerApp: number
  readonly maxSubscriptionsPerConnection: number
  readonly maxOperationsPerSecond: number
  readonly maxMessageBytes: number
  readonly allowedOrigins: readonly string[]
  readonly metricsToken: string | null
  readonly logLevel: string
}

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
  POLL_MIN_INTERVAL_MS: {
    fallback: '1000',
    about: 'A job is looked at no more often than this.',
    read: count(50, DAY_MS),
  },
  POLL_MAX_INTERVAL_MS: {
    fallback: '15000',
    about: 'A job is looked at no less often than this.',
    read: count(50, DAY_MS),
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

/** An unknown name that begins like ours is a typing error that would otherwise cost money in silence. */
const OURS = /^(WAVESPEED|UPSTREAM|POLL|EVENT)_/
/** Read by the official upstream client, so it may well stand in the same environment. */
const NOT_OURS = new Set(['WAVESPEED_CLIENT_NAME'])

export function loadConfig(env: Readonly<Record<string, string | undefined>>): Config {
  const faults: string[] = []
  const read = <Name extends keyof typeof SETTINGS>(
    name: Name,
  ): z.output<(typeof SETTINGS)[Name]['read']> => {
    const { fallback, read } = SETTINGS[name]
    const parsed = read.safeParse(given(env[name]) ?? fallback)
    if (!parsed.success) faults.push(`${name}: ${parsed.error.issues.map(issue => issue.message).join('; ')}`)
    return parsed.data as z.output<(typeof SETTINGS)[Name]['read']>
  }

  const apiKey = read('WAVESPEED_API_KEY')
  const baseUrl = read('WAVESPEED_BASE_URL')
  const onSimulator = given(env.WAVESPEED_API_KEY) === undefined
  const tier = (name: 'UPSTREAM_CONCURRENCY' | 'UPSTREAM_SUBMITS_PER_MINUTE') =>
    onSimulator && given(env[name]) === undefined ? null : read(name)

  const config: Config = {
    host: read('HOST'),
    port: read('PORT'),
    databaseFile: read('DATABASE_URL'),
    upstream: onSimulator ? null : Object.freeze({ baseUrl, apiKey: apiKey! }),
    upstreamConcurrency: tier('UPSTREAM_CONCURRENCY'),
    upstreamSubmitsPerMinute: tier('UPSTREAM_SUBMITS_PER_MINUTE'),
    pollMinIntervalMs: read('POLL_MIN_INTERVAL_MS'),
    pollMaxIntervalMs: read('POLL_MAX_INTERVAL_MS'),
    eventRetentionHours: read('EVENT_RETENTION_HOURS'),
    maxConnectionsPerApp: read('MAX_CONNECTIONS_PER_APP'),
    maxSubscriptionsPerConnection: read('MAX_SUBSCRIPTIONS_PER_CONNECTION'),
    maxOperationsPerSecond: read('MAX_OPERATIONS_PER_SECOND'),
    maxMessageBytes: read('MAX_MESSAGE_BYTES'),
    allowedOrigins: Object.freeze(read('ALLOWED_ORIGINS') ?? []),
    metricsToken: read('METRICS_TOKEN') ?? null,
    logLevel: read('LOG_LEVEL'),
  }

  if (onSimulator && given(env.WAVESPEED_BASE_URL) !== undefined)
    faults.push('WAVESPEED_BASE_URL: set without WAVESPEED_API_KEY; set both, or neither for the simulator')
  if (config.pollMinIntervalMs > config.pollMaxIntervalMs)
    faults.push('POLL_MIN_INTERVAL_MS: greater than POLL_MAX_INTERVAL_MS')
  faults.push(...strangers(env))

  if (faults.length > 0) throw new StartError(`The configuration is not valid:\n  ${faults.join('\n  ')}`)
  return Object.freeze(config)
}

/** An empty value means "not set", as a line `NAME=` in an environment file does. */
const given = (value: string | undefined) =>
  value === undefined || value.trim() === '' ? undefined : value.trim()

function strangers(env: Readonly<Record<string, string | undefined>>): string[] {
  const known = Object.keys(SETTINGS)
  return Object.keys(env)
    .filter(name => OURS.test(name) && !known.includes(name) && !NOT_OURS.has(name))
    .map(name => {
      const near = closest(name, known)
      const hint = distance(name, near) <= name.length / 2 ? `; did you mean ${near}?` : ''
      return `${name}: no such setting${hint}`
    })
}

function databaseFile(url: string, context: z.RefinementCtx): string {
  if (/^postgres(ql)?:/.test(url)) return refuse(context, 'PostgreSQL is not supported yet; use file:PATH')
  const path = /^file:(?:\/\/(?=\/))?(.+)$/.exec(url)?.[1]
  if (path === undefined || path.startsWith('//'))
    return refuse(context, 'expected file:PATH, as in file:data/rushes.db')
  return path
}

function baseUrl(text: string, context: z.RefinementCtx): string {
  const url = URL.parse(text)
  if (url === null || !['http:', 'https:'].includes(url.protocol))
    return refuse(context, 'expected an https:// URL')
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '')
    return refuse(context, 'expected no user name, password, query or fragment')
  if (url.protocol === 'http:' && !isLoopbackName(url.hostname))
    return refuse(context, 'plain http would show the key to the network; it is for loopback only')
  // The vendor's own pages name the base with the API's path.
  return (url.origin + url.pathname).replace(/\/+$/, '').replace(/\/api\/v3$/, '')
}

const isLoopbackName = (host: string) =>
  host === 'localhost' || host === '[::1]' || /^127(\.\d+){3}$/.test(host)

function origins(list: string | undefined, context: z.RefinementCtx): string[] {
  const entries = (list ?? '').split(',').flatMap(entry => given(entry) ?? [])
  for (const entry of entries)
    if (URL.parse(entry)?.origin !== entry)
      refuse(context, `"${entry}" is no origin; expected one like https://app.example`)
  return entries
}

function refuse(context: z.RefinementCtx, message: string): never {
  context.addIssue({ code: 'custom', message })
  return z.NEVER
}
