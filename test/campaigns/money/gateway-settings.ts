/**
 * How the gateway is started: an account without limits, impatient times, and a log that says all.
 */

import { UPSTREAM_KEY, WEBHOOK_SECRET } from './faulty-upstream.ts'
import type { Plan } from './plan.ts'

export interface GatewayLocation {
  port: number
  database: string
  upstream: string
  /** Without webhooks what is unknown can be found in the list alone. */
  hasWebhooks: boolean
}

export const createSettings = (location: GatewayLocation, plan: Plan): Record<string, string> => ({
  PORT: `${location.port}`,
  DATABASE_URL: `file:${location.database}`,
  WAVESPEED_BASE_URL: location.upstream,
  WAVESPEED_API_KEY: UPSTREAM_KEY,
  ...(location.hasWebhooks && {
    PUBLIC_URL: `http://127.0.0.1:${location.port}`,
    WAVESPEED_WEBHOOK_SECRET: WEBHOOK_SECRET,
  }),
  ALLOW_PRIVATE_IMAGE_HOSTS: '1',
  UPSTREAM_CONCURRENCY: '1000',
  UPSTREAM_SUBMITS_PER_MINUTE: '100000',
  UPSTREAM_SUBMIT_TIMEOUT_MS: `${plan.submitTimeoutMs}`,
  UPSTREAM_READ_TIMEOUT_MS: `${plan.readTimeoutMs}`,
  UPSTREAM_UNKNOWN_MS: `${plan.submitUnknownAfterMs}`,
  POLL_MIN_INTERVAL_MS: '100',
  POLL_MAX_INTERVAL_MS: '500',
  LOG_LEVEL: 'debug',
})

/**
 * A 429 is a second's rest and half the jobs at once for a long while, one without Retry-After a minute's: the gateway is
 * right to, and a run has no time for many.
 */
export const FAULT_WEIGHTS: Record<string, number> = { '429': 0.4, '429 bare': 0 }
