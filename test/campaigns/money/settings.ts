/**
 * How the gateway is started: an account without limits, impatient times, and a log that says all.
 */
import type { Plan } from './plan.ts'
import { UPSTREAM_KEY, WEBHOOK_SECRET } from './upstream.ts'

export interface Place {
  port: number
  database: string
  upstream: string
  /** Without webhooks what is unknown can be found in the list alone. */
  hasWebhooks: boolean
}

export const settings = (place: Place, plan: Plan): Record<string, string> => ({
  PORT: `${place.port}`,
  DATABASE_URL: `file:${place.database}`,
  WAVESPEED_BASE_URL: place.upstream,
  WAVESPEED_API_KEY: UPSTREAM_KEY,
  ...(place.hasWebhooks && {
    PUBLIC_URL: `http://127.0.0.1:${place.port}`,
    WAVESPEED_WEBHOOK_SECRET: WEBHOOK_SECRET,
  }),
  ALLOW_PRIVATE_IMAGE_HOSTS: '1',
  UPSTREAM_CONCURRENCY: '1000',
  UPSTREAM_SUBMITS_PER_MINUTE: '100000',
  UPSTREAM_SUBMIT_TIMEOUT_MS: `${plan.submitTimeoutMs}`,
  UPSTREAM_READ_TIMEOUT_MS: `${plan.readTimeoutMs}`,
  UPSTREAM_UNKNOWN_MS: `${plan.unknownMs}`,
  POLL_MIN_INTERVAL_MS: '100',
  POLL_MAX_INTERVAL_MS: '500',
  LOG_LEVEL: 'debug',
})

/**
 * A 429 is a second's rest and half the jobs at once for a long while, one without Retry-After a minute's: the gateway is
 * right to, and a run has no time for many.
 */
export const weights: Record<string, number> = { '429': 0.4, '429 bare': 0 }
