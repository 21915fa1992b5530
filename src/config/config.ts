/**
 * Reads the environment into one frozen Config. It validates every setting before anything starts and reports
 * all faults together.
 */
import type { z } from 'zod'
import { StartupError } from '../domain/errors.ts'
import { didYouMean } from './did-you-mean.ts'
import { SETTINGS, valueOrUndefined } from './settings.ts'

export interface Config {
  readonly host: string
  readonly port: number
  /** A valid URL, for no message: one of a database server may contain a password. See domain/database-url.ts. */
  readonly databaseUrl: string
  /** Null: the gateway starts the simulator and uses it as upstream. */
  readonly upstream: { readonly baseUrl: string; readonly apiKey: string } | null
  /** Null: no limit. */
  readonly upstreamConcurrency: number | null
  readonly upstreamSubmitsPerMinute: number | null
  /**
   * Base URL at which upstream reaches this gateway, without a trailing slash. Null: the gateway requests no
   * webhooks.
   */
  readonly publicUrl: string | null
  readonly webhookSecrets: readonly string[]
  readonly submitTimeoutMs: number
  readonly readTimeoutMs: number
  readonly submitUnknownAfterMs: number
  readonly deadlineMs: number
  readonly allowPrivateImageHosts: boolean
  readonly holdSubmits: boolean
  readonly pollMinIntervalMs: number
  readonly pollMaxIntervalMs: number
  readonly eventRetentionHours: number
  readonly maxConnectionsPerApp: number
  readonly maxSubscriptionsPerConnection: number
  readonly maxOperationsPerSecond: number
  readonly maxMessageBytes: number
  readonly maxUploadBytesPerApp: number
  readonly maxUploadsPerMinutePerApp: number
  readonly maxQueryCost: number
  readonly maxQueryDepth: number
  readonly allowIntrospection: boolean
  readonly maxConnections: number
  readonly maxConnectionsPerAddress: number
  readonly maxRequestsPerMinutePerAddress: number
  readonly maxRequestsPerMinutePerKey: number
  readonly maxWrongKeysPerMinute: number
  readonly trustedProxies: readonly string[]
  readonly allowedOrigins: readonly string[]
  readonly metricsToken: string | null
  readonly logLevel: string
}

/**
 * Prefixes of our settings. An unknown name with one of them is probably a typing error, which could cost
 * money unnoticed.
 */
const OWN_NAME = /^(WAVESPEED|UPSTREAM|POLL|EVENT)_/
/** The official upstream client reads this name, so it may be in the same environment. */
const FOREIGN_NAMES = new Set(['WAVESPEED_CLIENT_NAME'])

export function loadConfig(env: Readonly<Record<string, string | undefined>>): Config {
  const faults: string[] = []
  const read = <Name extends keyof typeof SETTINGS>(
    name: Name,
  ): z.output<(typeof SETTINGS)[Name]['schema']> => {
    const { default: defaultValue, schema } = SETTINGS[name]
    const parsed = schema.safeParse(valueOrUndefined(env[name]) ?? defaultValue)
    if (!parsed.success) faults.push(`${name}: ${parsed.error.issues.map(issue => issue.message).join('; ')}`)
    return parsed.data as z.output<(typeof SETTINGS)[Name]['schema']>
  }

  const apiKey = read('WAVESPEED_API_KEY')
  const baseUrl = read('WAVESPEED_BASE_URL')
  const onSimulator = valueOrUndefined(env.WAVESPEED_API_KEY) === undefined
  const readTierLimit = (name: 'UPSTREAM_CONCURRENCY' | 'UPSTREAM_SUBMITS_PER_MINUTE') =>
    onSimulator && valueOrUndefined(env[name]) === undefined ? null : read(name)

  const config: Config = {
    host: read('HOST'),
    port: read('PORT'),
    databaseUrl: read('DATABASE_URL'),
    upstream: onSimulator ? null : Object.freeze({ baseUrl, apiKey: apiKey! }),
    upstreamConcurrency: readTierLimit('UPSTREAM_CONCURRENCY'),
    upstreamSubmitsPerMinute: readTierLimit('UPSTREAM_SUBMITS_PER_MINUTE'),
    publicUrl: read('PUBLIC_URL') ?? null,
    webhookSecrets: Object.freeze(read('WAVESPEED_WEBHOOK_SECRET') ?? []),
    submitTimeoutMs: read('UPSTREAM_SUBMIT_TIMEOUT_MS'),
    readTimeoutMs: read('UPSTREAM_READ_TIMEOUT_MS'),
    submitUnknownAfterMs: read('UPSTREAM_UNKNOWN_MS'),
    deadlineMs: read('UPSTREAM_DEADLINE_MS'),
    allowPrivateImageHosts: (read('ALLOW_PRIVATE_IMAGE_HOSTS') ?? (onSimulator ? '1' : '0')) === '1',
    holdSubmits: read('HOLD_SUBMITS') === '1',
    pollMinIntervalMs: read('POLL_MIN_INTERVAL_MS'),
    pollMaxIntervalMs: read('POLL_MAX_INTERVAL_MS'),
    eventRetentionHours: read('EVENT_RETENTION_HOURS'),
    maxConnectionsPerApp: read('MAX_CONNECTIONS_PER_APP'),
    maxSubscriptionsPerConnection: read('MAX_SUBSCRIPTIONS_PER_CONNECTION'),
    maxOperationsPerSecond: read('MAX_OPERATIONS_PER_SECOND'),
    maxMessageBytes: read('MAX_MESSAGE_BYTES'),
    maxUploadBytesPerApp: read('MAX_UPLOAD_BYTES_PER_APP'),
    maxUploadsPerMinutePerApp: read('MAX_UPLOADS_PER_MINUTE_PER_APP'),
    maxQueryCost: read('MAX_QUERY_COST'),
    maxQueryDepth: read('MAX_QUERY_DEPTH'),
    allowIntrospection: (read('ALLOW_INTROSPECTION') ?? (onSimulator ? '1' : '0')) === '1',
    maxConnections: read('MAX_CONNECTIONS'),
    maxConnectionsPerAddress: read('MAX_CONNECTIONS_PER_ADDRESS'),
    maxRequestsPerMinutePerAddress: read('MAX_REQUESTS_PER_MINUTE_PER_ADDRESS'),
    maxRequestsPerMinutePerKey: read('MAX_REQUESTS_PER_MINUTE_PER_KEY'),
    maxWrongKeysPerMinute: read('MAX_WRONG_KEYS_PER_MINUTE'),
    trustedProxies: Object.freeze(read('TRUSTED_PROXIES') ?? []),
    allowedOrigins: Object.freeze(read('ALLOWED_ORIGINS') ?? []),
    metricsToken: read('METRICS_TOKEN') ?? null,
    logLevel: read('LOG_LEVEL'),
  }

  if (onSimulator && valueOrUndefined(env.WAVESPEED_BASE_URL) !== undefined)
    faults.push('WAVESPEED_BASE_URL: set without WAVESPEED_API_KEY; set both, or neither for the simulator')
  if (config.pollMinIntervalMs > config.pollMaxIntervalMs)
    faults.push('POLL_MIN_INTERVAL_MS: greater than POLL_MAX_INTERVAL_MS')
  faults.push(...unknownSettings(env))

  if (faults.length > 0) throw new StartupError(`The configuration is not valid:\n  ${faults.join('\n  ')}`)
  return Object.freeze(config)
}

function unknownSettings(env: Readonly<Record<string, string | undefined>>): string[] {
  const known = Object.keys(SETTINGS)
  return Object.keys(env)
    .filter(name => OWN_NAME.test(name) && !known.includes(name) && !FOREIGN_NAMES.has(name))
    .map(name => `${name}: no such setting${didYouMean(name, known)}`)
}
