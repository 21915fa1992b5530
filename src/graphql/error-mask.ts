/**
 * Converts an error to the one that an app sees.
 * Invariant: an app sees only errors that were made for it. Any other error becomes "Unexpected error." and
 * is logged once.
 */
import { GraphQLError } from 'graphql'
import { DatabaseUnavailable, REQUEST_ERRORS } from '../domain/errors.ts'

export interface ErrorLog {
  error(fields: object, message: string): void
}

export function maskError(error: unknown, log: ErrorLog): GraphQLError {
  const graphqlError = error instanceof GraphQLError ? error : null
  const cause = graphqlError === null ? error : (graphqlError.originalError ?? null)
  if (graphqlError !== null && (cause === null || cause instanceof GraphQLError)) {
    // Yoga puts the error of its JSON parser here.
    delete graphqlError.extensions.originalError
    // Without this Yoga answers an invalid JSON body with a 200, like a GraphQL result.
    if (graphqlError.extensions.code === 'BAD_REQUEST')
      Object.assign(graphqlError.extensions.http ?? {}, { spec: false })
    return graphqlError
  }
  // The workers log an outage once.
  const code = cause instanceof DatabaseUnavailable ? 'DATABASE_UNAVAILABLE' : 'INTERNAL_SERVER_ERROR'
  if (code === 'INTERNAL_SERVER_ERROR')
    log.error({ err: cause, path: graphqlError?.path }, 'unexpected error in a GraphQL operation')
  return new GraphQLError(REQUEST_ERRORS[code].message, {
    nodes: graphqlError?.nodes ?? null,
    path: graphqlError?.path ?? null,
    extensions: { code },
  })
}
