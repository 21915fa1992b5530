/**
 * The gateway's environment: no account limits, short time-outs, debug log.
 */

import { UPSTREAM_KEY, WEBHOOK_SECRET } from './faulty-upstream.ts'
import type { Plan } from './plan.ts'

export interface GatewayLocation {
  port: number
  database: string
  upstream: string
  /** Without webhooks an unknown POST can be found only in upstream's list. */
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
 * A 429 pauses submits for a second and halves the concurrency limit for long; without Retry-After it pauses a
 * minute. The gateway is right to do so, but a run has no time for many.
 */
export const FAULT_WEIGHTS: Record<string, number> = { '429': 0.4, '429 bare': 0 }
