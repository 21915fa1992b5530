/**
 * Security headers of every response: the response is not a page, and must not be stored. A path that serves
 * pages overrides them.
 */
import type { Duplex } from 'node:stream'
import { DAY_MS, SECOND_MS } from '../../domain/time.ts'

const SECURITY_HEADERS = {
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
  'cache-control': 'no-store',
}
const YEAR_SECONDS = (365 * DAY_MS) / SECOND_MS

/** @param publicUrl with https: adds Strict-Transport-Security */
export function createSecurityHeaders(publicUrl: string | null): Map<string, string> {
  const headers = new Map(Object.entries(SECURITY_HEADERS))
  if (publicUrl?.startsWith('https:')) headers.set('strict-transport-security', `max-age=${YEAR_SECONDS}`)
  return headers
}

/** An upgrade request has no ServerResponse, so the response is written to the socket. */
export function rejectUpgrade(
  socket: Duplex,
  status: string,
  extraHeaders: Record<string, string> = {},
): void {
  const headers = Object.entries({
    ...SECURITY_HEADERS,
    ...extraHeaders,
    connection: 'close',
    'content-length': '0',
  })
  const lines = headers.map(([name, value]) => `${name}: ${value}\r\n`)
  socket.end(`HTTP/1.1 ${status}\r\n${lines.join('')}\r\n`, () => socket.destroy())
}
