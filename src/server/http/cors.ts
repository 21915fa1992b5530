/**
 * Which pages may call: those of `ALLOWED_ORIGINS`, and on a WebSocket the gateway's own.
 * Invariant: an answer to any other page has nothing that lets it read it. No cookie is ever asked for.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'

export interface CorsPolicy {
  /** Lets a page that may read the answer, whatever it is. True: it was a preflight, and has its answer. */
  applyCors(request: IncomingMessage, response: ServerResponse): boolean
  /** A browser asks nobody before it opens a WebSocket. What is no browser names no origin. */
  isUpgradeAllowed(request: IncomingMessage): boolean
}

/** Seconds a browser remembers a preflight. */
const PREFLIGHT_MAX_AGE_SECONDS = '600'

export function createCorsPolicy(allowedOrigins: readonly string[], publicUrl: string | null): CorsPolicy {
  const ownOrigin = publicUrl === null ? null : new URL(publicUrl).origin

  return {
    applyCors({ method, headers }, response) {
      if (allowedOrigins.length === 0) return false
      response.setHeader('vary', 'Origin')
      const { origin } = headers
      if (origin === undefined || !allowedOrigins.includes(origin)) return false
      response.setHeader('access-control-allow-origin', origin)
      response.setHeader('access-control-expose-headers', 'Retry-After')
      if (method !== 'OPTIONS' || headers['access-control-request-method'] === undefined) return false
      response
        .writeHead(204, {
          'access-control-allow-methods': 'GET, POST',
          'access-control-allow-headers': headers['access-control-request-headers'] ?? 'authorization',
          'access-control-max-age': PREFLIGHT_MAX_AGE_SECONDS,
        })
        .end()
      return true
    },

    isUpgradeAllowed({ headers: { origin, host } }) {
      if (origin === undefined || allowedOrigins.includes(origin) || origin === ownOrigin) return true
      return URL.parse(origin)?.host === host
    },
  }
}
