/**
 * A request that is refused before its operation is read: one error, and its status.
 */
import type { ServerResponse } from 'node:http'
import type { GraphQLError } from 'graphql'
import { requestError } from '../../graphql/request-errors.ts'

export interface Refused {
  status: number
  error: GraphQLError
  headers?: Record<string, string>
}

export function rateLimited(retryAfterMs: number): GraphQLError {
  const error = requestError('RATE_LIMITED')
  error.extensions.retryAfterMs = retryAfterMs
  return error
}

export const slowedDown = (ms: number): Refused => ({
  status: 429,
  error: rateLimited(ms),
  headers: { 'retry-after': retryAfter(ms) },
})

export const retryAfter = (ms: number): string => `${Math.ceil(ms / 1000)}`

export const answerRefused = (response: ServerResponse, { status, error, headers }: Refused): void =>
  void response
    .writeHead(status, { 'content-type': 'application/json; charset=utf-8', ...headers })
    .end(JSON.stringify({ errors: [error] }))
