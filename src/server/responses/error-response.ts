/**
 * HTTP error responses that are sent before an operation is parsed: one GraphQL error, and a status.
 */
import type { ServerResponse } from 'node:http'
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
