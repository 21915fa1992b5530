/**
 * What stands above every answer of every path: nothing here is a page, and nothing is to be kept.
 * A path that serves pages writes its own over them.
 */
import type { ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'

const SECURITY_HEADERS = {
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
  'cache-control': 'no-store',
}
const YEAR_SECONDS = 365 * 24 * 60 * 60

/** @param publicUrl a browser is told to stay with https where that is what it came by */
export function createSecurityHeaders(publicUrl: string | null): (response: ServerResponse) => void {
  const isHttps = publicUrl?.startsWith('https:')
  const headers = {
    ...SECURITY_HEADERS,
    ...(isHttps && { 'strict-transport-security': `max-age=${YEAR_SECONDS}` }),
  }
  return response => {
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value)
  }
}

/** An upgrade has no response of Node's. */
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
