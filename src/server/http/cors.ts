/**
 * CORS for the origins of `ALLOWED_ORIGINS`, and the origin check of WebSockets, which also accepts the
 * gateway's own origin.
 * Invariant: a response to an origin that is not allowed has no CORS header. No cookie is used.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'

export interface CorsPolicy {
  /** Whether pages of any other origin are allowed. If not, `applyCors` need not be called. */
  isEnabled: boolean
  /** Sets the CORS headers. True: the request was a preflight, and has been answered. */
  applyCors(request: IncomingMessage, response: ServerResponse): boolean
  /** For an upgrade with an Origin: browsers send no preflight before a WebSocket. */
  isUpgradeAllowed(request: IncomingMessage): boolean
}

/** Time that a browser may cache a preflight. */
const PREFLIGHT_MAX_AGE_SECONDS = '600'

export function createCorsPolicy(allowedOrigins: readonly string[], publicUrl: string | null): CorsPolicy {
  const ownOrigin = publicUrl === null ? null : new URL(publicUrl).origin

  return {
    isEnabled: allowedOrigins.length > 0,

    applyCors({ method, headers }, response) {
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
