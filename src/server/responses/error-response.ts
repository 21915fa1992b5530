/**
 * HTTP error responses that are sent before an operation is parsed: one GraphQL error, and a status.
 */
import { type ServerResponse, STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import type { GraphQLError } from 'graphql'
import { requestError } from '../../graphql/request-errors.ts'

export interface ErrorResponse {
  status: number
  error: GraphQLError
  headers?: Record<string, string>
}

export function rateLimitedError(retryAfterMs: number): GraphQLError {
  const error = requestError('RATE_LIMITED')
  error.extensions.retryAfterMs = retryAfterMs
  return error
}

export const rateLimitedResponse = (retryAfterMs: number): ErrorResponse => ({
  status: 429,
  error: rateLimitedError(retryAfterMs),
  headers: { 'retry-after': retryAfterHeader(retryAfterMs) },
})

export const retryAfterHeader = (retryAfterMs: number): string => `${Math.ceil(retryAfterMs / 1000)}`

export const sendErrorResponse = (
  response: ServerResponse,
  { status, error, headers }: ErrorResponse,
): void =>
  void response
    .writeHead(status, { 'content-type': 'application/json; charset=utf-8', ...headers })
    .end(JSON.stringify({ errors: [error] }))

/**
 * Answers a request whose response cannot be used, and closes the connection: the request is not parsed to its end, or
 * its response waits for it.
 */
export function closeWithError(socket: Duplex, status: number, error: GraphQLError): void {
  const body = JSON.stringify({ errors: [error] })
  const headers = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    'Connection: close',
    'Content-Type: application/json; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Cache-Control: no-store',
    'X-Content-Type-Options: nosniff',
  ]
  endConnection(socket, `${headers.join('\r\n')}\r\n\r\n${body}`)
}

/** Destroying a socket at once would reset the connection before the client has read its last bytes. */
const DESTROY_DELAY_MS = 100

/** Sends a text, if there is one, and closes the connection. */
export function endConnection(socket: Duplex, text = ''): void {
  const timer = setTimeout(() => socket.destroy(), DESTROY_DELAY_MS)
  socket.once('close', () => clearTimeout(timer))
  socket.end(text)
}
