import { readFile } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { loadConfig } from '../../src/config/config.ts'
import { SETTINGS } from '../../src/config/settings.ts'
import { StartupError } from '../../src/domain/errors.ts'

const KEY = { WAVESPEED_API_KEY: 'sk-123' }
type Env = Record<string, string | undefined>

/** The faults for which the environment is rejected, one per line. */
function configErrors(env: Env): string[] {
  let thrown: unknown
  try {
    loadConfig(env)
  } catch (error) {
    thrown = error
  }
  expect(thrown).toBeInstanceOf(StartupError)
  const [title, ...lines] = (thrown as StartupError).message.split('\n')
  expect(title).toBe('The configuration is not valid:')
  return lines.map(line => line.trim())
}

test('an empty environment runs on a laptop: the simulator, without limits', () => {
  expect(loadConfig({})).toEqual({
    holdSubmits: false,
    host: '127.0.0.1',
    port: 4000,
    databaseUrl: 'file:data/rushes.db',
    upstream: null,
    upstreamConcurrency: null,
    upstreamSubmitsPerMinute: null,
    publicUrl: null,
    webhookSecrets: [],
    submitTimeoutMs: 60_000,
    readTimeoutMs: 15_000,
    submitUnknownAfterMs: 600_000,
    deadlineMs: 3_600_000,
    allowPrivateImageHosts: true,
    pollMinIntervalMs: 1000,
    pollMaxIntervalMs: 15_000,
    eventRetentionHours: 168,
    maxConnectionsPerApp: 5000,
    maxSubscriptionsPerConnection: 100,
    maxOperationsPerSecond: 200,
    maxMessageBytes: 1_048_576,
    maxQueryCost: 10_000,
    maxQueryDepth: 15,
    maxUploadBytesPerApp: 1_073_741_824,
    maxUploadsPerMinutePerApp: 120,
    allowIntrospection: true,
    maxConnections: 20_000,
    maxConnectionsPerAddress: 5000,
    maxRequestsPerMinutePerAddress: 60_000,
    maxRequestsPerMinutePerKey: 60_000,
    maxWrongKeysPerMinute: 20,
    trustedProxies: [],
    allowedOrigins: [],
    metricsToken: null,
    logLevel: 'info',
  })
})

test('a key alone selects the real upstream, within the smallest tier', () => {
  expect(loadConfig(KEY)).toMatchObject({
    upstream: { baseUrl: 'https://api.wavespeed.ai', apiKey: 'sk-123' },
    upstreamConcurrency: 3,
    upstreamSubmitsPerMinute: 5,
    allowIntrospection: false,
  })
})

test('limits that are set apply on the simulator too', () => {
  expect(loadConfig({ UPSTREAM_CONCURRENCY: '2' })).toMatchObject({
    upstreamConcurrency: 2,
    upstreamSubmitsPerMinute: null,
  })
  expect(loadConfig({ UPSTREAM_SUBMITS_PER_MINUTE: '7' })).toMatchObject({
    upstreamConcurrency: null,
    upstreamSubmitsPerMinute: 7,
  })
})

test('every setting is read', () => {
  expect(
    loadConfig({
      HOST: '::1',
      PORT: '0',
      DATABASE_URL: 'file:///var/lib/rushes/rushes.db',
      WAVESPEED_API_KEY: 'sk-123',
      WAVESPEED_BASE_URL: 'https://proxy.example/wavespeed/',
      UPSTREAM_CONCURRENCY: '100',
      HOLD_SUBMITS: '1',
      UPSTREAM_SUBMITS_PER_MINUTE: '60',
      PUBLIC_URL: 'https://rushes.example/gateway/',
      WAVESPEED_WEBHOOK_SECRET: 'whsec_new-secret, whsec_old-secret',
      UPSTREAM_SUBMIT_TIMEOUT_MS: '100',
      UPSTREAM_READ_TIMEOUT_MS: '101',
      UPSTREAM_UNKNOWN_MS: '102',
      UPSTREAM_DEADLINE_MS: '103',
      ALLOW_PRIVATE_IMAGE_HOSTS: '1',
      POLL_MIN_INTERVAL_MS: '50',
      POLL_MAX_INTERVAL_MS: '50',
      EVENT_RETENTION_HOURS: '1',
      MAX_CONNECTIONS_PER_APP: '2',
      MAX_SUBSCRIPTIONS_PER_CONNECTION: '3',
      MAX_OPERATIONS_PER_SECOND: '4',
      MAX_MESSAGE_BYTES: '5000',
      MAX_QUERY_COST: '6000',
      MAX_QUERY_DEPTH: '7',
      MAX_UPLOAD_BYTES_PER_APP: '1024',
      MAX_UPLOADS_PER_MINUTE_PER_APP: '14',
      ALLOW_INTROSPECTION: '1',
      MAX_CONNECTIONS: '8',
      MAX_CONNECTIONS_PER_ADDRESS: '9',
      MAX_REQUESTS_PER_MINUTE_PER_ADDRESS: '10',
      MAX_REQUESTS_PER_MINUTE_PER_KEY: '11',
      MAX_WRONG_KEYS_PER_MINUTE: '12',
      TRUSTED_PROXIES: 'loopback, 10.0.0.0/8,2001:db8::1',
      ALLOWED_ORIGINS: 'https://app.example, http://localhost:5173 ,',
      METRICS_TOKEN: '0123456789abcdef',
      LOG_LEVEL: 'silent',
    }),
  ).toEqual({
    holdSubmits: true,
    host: '::1',
    port: 0,
    databaseUrl: 'file:///var/lib/rushes/rushes.db',
    upstream: { baseUrl: 'https://proxy.example/wavespeed', apiKey: 'sk-123' },
    upstreamConcurrency: 100,
    upstreamSubmitsPerMinute: 60,
    publicUrl: 'https://rushes.example/gateway',
    webhookSecrets: ['whsec_new-secret', 'whsec_old-secret'],
    submitTimeoutMs: 100,
    readTimeoutMs: 101,
    submitUnknownAfterMs: 102,
    deadlineMs: 103,
    allowPrivateImageHosts: true,
    pollMinIntervalMs: 50,
    pollMaxIntervalMs: 50,
    eventRetentionHours: 1,
    maxConnectionsPerApp: 2,
    maxSubscriptionsPerConnection: 3,
    maxOperationsPerSecond: 4,
    maxMessageBytes: 5000,
    maxQueryCost: 6000,
    maxQueryDepth: 7,
    maxUploadBytesPerApp: 1024,
    maxUploadsPerMinutePerApp: 14,
    allowIntrospection: true,
    maxConnections: 8,
    maxConnectionsPerAddress: 9,
    maxRequestsPerMinutePerAddress: 10,
    maxRequestsPerMinutePerKey: 11,
    maxWrongKeysPerMinute: 12,
    trustedProxies: ['loopback', '10.0.0.0/8', '2001:db8::1'],
    allowedOrigins: ['https://app.example', 'http://localhost:5173'],
    metricsToken: '0123456789abcdef',
    logLevel: 'silent',
  })
})

test('the config is frozen', () => {
  expect(Object.isFrozen(loadConfig({}))).toBe(true)
})

test('an empty value means not set, and space around a value is removed', () => {
  const empty = Object.fromEntries(Object.keys(SETTINGS).map(name => [name, ' ']))
  expect(loadConfig(empty)).toEqual(loadConfig({}))
  expect(loadConfig({ PORT: ' 80 ', WAVESPEED_API_KEY: ' sk-123\n' })).toMatchObject({
    port: 80,
    upstream: { apiKey: 'sk-123' },
  })
})

describe('an invalid value is reported with its name and what was expected', () => {
  test.each<[keyof typeof SETTINGS, string, string]>([
    ['HOST', 'a b', 'expected an address or a host name'],
    ['HOST', 'http://localhost', 'expected an address or a host name'],
    ['PORT', '65536', 'expected 0 to 65535'],
    ['PORT', '-1', 'expected a whole number'],
    ['PORT', '4e3', 'expected a whole number'],
    ['PORT', '80.5', 'expected a whole number'],
    ['DATABASE_URL', 'data/rushes.db', 'expected file:PATH'],
    ['DATABASE_URL', 'file:', 'expected file:PATH'],
    ['DATABASE_URL', 'file://host/rushes.db', 'expected file:PATH'],
    ['DATABASE_URL', 'mysql://localhost/rushes', 'expected file:PATH'],
    [
      'DATABASE_URL',
      'postgres://u:secret@localhost/rushes',
      'PostgreSQL is not supported yet; use file:PATH',
    ],
    ['DATABASE_URL', 'postgresql://localhost/rushes', 'PostgreSQL is not supported yet; use file:PATH'],
    ['WAVESPEED_API_KEY', 'two words', 'expected printable characters without spaces'],
    ['WAVESPEED_API_KEY', 'schlüssel', 'expected printable characters without spaces'],
    ['WAVESPEED_BASE_URL', 'api.wavespeed.ai', 'expected an https:// URL'],
    ['WAVESPEED_BASE_URL', 'ftp://api.wavespeed.ai', 'expected an https:// URL'],
    [
      'WAVESPEED_BASE_URL',
      'https://u:p@api.wavespeed.ai',
      'expected no user name, password, query or fragment',
    ],
    ['WAVESPEED_BASE_URL', 'https://api.wavespeed.ai/?a=1', 'expected no user name'],
    ['WAVESPEED_BASE_URL', 'https://api.wavespeed.ai/#a', 'expected no user name'],
    ['WAVESPEED_BASE_URL', 'http://api.wavespeed.ai', 'for loopback only'],
    ['PUBLIC_URL', 'rushes.example', 'expected an https:// URL'],
    ['PUBLIC_URL', 'http://rushes.example', 'for loopback only'],
    ['PUBLIC_URL', 'https://rushes.example/?a=1', 'expected no user name'],
    ['WAVESPEED_WEBHOOK_SECRET', 'secret', 'expected whsec_'],
    ['WAVESPEED_WEBHOOK_SECRET', 'whsec_long-enough,short', 'expected whsec_'],
    ['UPSTREAM_SUBMIT_TIMEOUT_MS', '99', 'expected 100 to 600000'],
    ['UPSTREAM_DEADLINE_MS', '604800001', 'expected 100 to 604800000'],
    ['ALLOW_PRIVATE_IMAGE_HOSTS', 'yes', 'expected 1 or 0'],
    ['HOLD_SUBMITS', 'yes', 'expected 1 or 0'],
    ['UPSTREAM_CONCURRENCY', '0', 'expected 1 to 1000000'],
    ['UPSTREAM_CONCURRENCY', 'three', 'expected a whole number'],
    ['UPSTREAM_SUBMITS_PER_MINUTE', '1000001', 'expected 1 to 1000000'],
    ['POLL_MIN_INTERVAL_MS', '49', 'expected 50 to 86400000'],
    ['POLL_MAX_INTERVAL_MS', '1s', 'expected a whole number'],
    ['EVENT_RETENTION_HOURS', '0', 'expected 1 to 87840'],
    ['ALLOWED_ORIGINS', '*', '"*" is not an origin'],
    ['ALLOWED_ORIGINS', 'https://app.example/', '"https://app.example/" is not an origin'],
    ['ALLOWED_ORIGINS', 'https://app.example,app2.example', '"app2.example" is not an origin'],
    ['METRICS_TOKEN', 'short', 'expected at least 16 printable characters'],
    ['LOG_LEVEL', 'loud', 'expected one of fatal, error, warn'],
  ])('%s %j', (name, value, expected) => {
    const [fault, ...others] = configErrors({ ...KEY, [name]: value })
    expect(others).toEqual([])
    expect(fault?.startsWith(`${name}: `)).toBe(true)
    expect(fault).toContain(expected)
  })

  test('without any value that may be a secret', () => {
    const errors = configErrors({
      DATABASE_URL: 'postgres://u:s3cret@localhost/rushes',
      WAVESPEED_API_KEY: 's3cret key',
      METRICS_TOKEN: 's3cret',
      WAVESPEED_WEBHOOK_SECRET: 's3cret',
    })
    expect(errors).toHaveLength(4)
    expect(errors.join()).not.toContain('s3cret')
  })
})

test.each(['localhost', '127.0.0.1', '127.1.2.3', '[::1]'])(
  'plain http is accepted on loopback: %s',
  host => {
    const env = { ...KEY, WAVESPEED_BASE_URL: `http://${host}:8080/` }
    expect(loadConfig(env).upstream?.baseUrl).toBe(`http://${host}:8080`)
  },
)

test.each([
  '0.0.0.0',
  '10.0.0.1',
  '128.0.0.1',
  'localhost.evil.example',
  '127.0.0.1.evil.example',
  'evil.example#127.0.0.1',
  '127.0.0.1@evil.example',
  '[::2]',
])('plain http is rejected for %s', host => {
  expect(configErrors({ ...KEY, WAVESPEED_BASE_URL: `http://${host}` })).toHaveLength(1)
})

test('all faults are reported in one message', () => {
  const errors = configErrors({
    PORT: 'x',
    WAVESPEED_BASE_URL: 'ftp://x',
    POLL_MIN_INTERVAL_MS: '1',
    LOG_LEVEL: 'x',
    POLL_INTERVAL: '1',
    ...KEY,
  })
  expect(errors.map(fault => fault.split(':')[0]).toSorted()).toEqual([
    'LOG_LEVEL',
    'POLL_INTERVAL',
    'POLL_MIN_INTERVAL_MS',
    'PORT',
    'WAVESPEED_BASE_URL',
  ])
})

test('settings that contradict one another are faults', () => {
  expect(configErrors({ WAVESPEED_BASE_URL: 'https://proxy.example' })).toEqual([
    'WAVESPEED_BASE_URL: set without WAVESPEED_API_KEY; set both, or neither for the simulator',
  ])
  expect(configErrors({ POLL_MIN_INTERVAL_MS: '200', POLL_MAX_INTERVAL_MS: '100' })).toEqual([
    'POLL_MIN_INTERVAL_MS: greater than POLL_MAX_INTERVAL_MS',
  ])
  // The default of the other limit counts too.
  expect(configErrors({ POLL_MIN_INTERVAL_MS: '15001' })).toHaveLength(1)
})

test('an invalid key is the only fault reported', () => {
  const errors = configErrors({ WAVESPEED_API_KEY: 'two words', WAVESPEED_BASE_URL: 'https://proxy.example' })
  expect(errors).toEqual(['WAVESPEED_API_KEY: expected printable characters without spaces'])
})

test.each([
  ['WAVESPEED_API_KEYS', 'WAVESPEED_API_KEY'],
  ['WAVESPEED_KEY', 'WAVESPEED_API_KEY'],
  ['WAVESPEED_URL', 'WAVESPEED_BASE_URL'],
  ['UPSTREAM_CONCURENCY', 'UPSTREAM_CONCURRENCY'],
  ['UPSTREAM_SUBMITS_PER_MIN', 'UPSTREAM_SUBMITS_PER_MINUTE'],
  ['POLL_MIN_INTERVAL', 'POLL_MIN_INTERVAL_MS'],
  ['EVENT_RETENTION_DAYS', 'EVENT_RETENTION_HOURS'],
])('%s is rejected with: did you mean %s?', (name, meant) => {
  expect(configErrors({ [name]: '1' })).toEqual([`${name}: no such setting; did you mean ${meant}?`])
})

test('an unknown name with our prefix and no near name is rejected without a suggestion', () => {
  expect(configErrors({ POLL_XYZ_QQQQQQQQQQQQQQQQQQQQ: '1' })).toEqual([
    'POLL_XYZ_QQQQQQQQQQQQQQQQQQQQ: no such setting',
  ])
})

test('names without our prefixes are ignored', () => {
  const env = {
    PATH: '/bin',
    PORTS: '1',
    UPSTREAM: '1',
    MY_POLL_X: '1',
    poll_x: '1',
    WAVESPEED_CLIENT_NAME: 'x',
  }
  expect(loadConfig(env)).toEqual(loadConfig({}))
})

test('the README has every setting in its table, with its default and its description', async () => {
  const readme = await readFile(new URL('../../README.md', import.meta.url), 'utf8')
  const table = readme.split(/\n(?!\|)/).find(block => block.includes('\n| `HOST` |')) ?? ''
  const rows = table.split('\n').flatMap(line => {
    const [, name, fallback, about] = /^\| (`[^|]+) \| (.+?) \| (.+) \|$/.exec(line) ?? []
    return name === undefined ? [] : [[name, fallback, about]]
  })
  expect(rows).toEqual(
    Object.entries(SETTINGS).map(([name, { default: defaultValue, description }]) => [
      `\`${name}\``,
      defaultValue === undefined ? 'none' : `\`${defaultValue}\``,
      description,
    ]),
  )
})
