/**
 * The process's own figures, for a scraper on this machine or one that knows the token.
 * Invariant: a request that came through a proxy is never taken for loopback.
 */
import { timingSafeEqual } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { collectDefaultMetrics, Registry } from 'prom-client'

export interface Metrics {
  answer(request: IncomingMessage, response: ServerResponse): Promise<void>
  close(): void
}

const LOOPBACK = /^(127\.\d+\.\d+\.\d+|::1|::ffff:127\.\d+\.\d+\.\d+)$/
const PROXY_HEADERS = [
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-proto',
  'x-real-ip',
  'forwarded',
  'via',
]

export function createMetrics(token: string | null): Metrics {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })

  return {
    async answer(request, response) {
      if (!isLocal(request) && !hasToken(request, token))
        return void response
          .writeHead(403, { 'content-type': 'text/plain' })
          .end('/metrics: loopback, or METRICS_TOKEN\n')
      response.writeHead(200, { 'content-type': registry.contentType }).end(await registry.metrics())
    },
    close: () => registry.clear(),
  }
}

const isLocal = ({ socket, headers }: IncomingMessage): boolean =>
  LOOPBACK.test(socket.remoteAddress ?? '') && PROXY_HEADERS.every(name => headers[name] === undefined)

function hasToken({ headers }: IncomingMessage, token: string | null): boolean {
  if (token === null) return false
  const given = Buffer.from(headers.authorization ?? '')
  const wanted = Buffer.from(`Bearer ${token}`)
  return given.length === wanted.length && timingSafeEqual(given, wanted)
}
