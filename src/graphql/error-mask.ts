/**
 * From an error to what an app is shown of it.
 * Invariant: only errors made to be seen are seen; any other becomes "Unexpected error." and is logged once.
 */
import { GraphQLError } from 'graphql'
import { REQUEST_ERRORS } from '../domain/errors.ts'

export interface ErrorLog {
  error(fields: object, message: string): void
}

export function maskError(error: unknown, log: ErrorLog): GraphQLError {
  const graphqlError = error instanceof GraphQLError ? error : null
  const cause = graphqlError === null ? error : (graphqlError.originalError ?? null)
  if (graphqlError !== null && (cause === null || cause instanceof GraphQLError)) {
    // Yoga shows the error of its JSON parser here.
    delete graphqlError.extensions.originalError
    // And takes what is no JSON for an answer of GraphQL's, with a 200.
    if (graphqlError.extensions.code === 'BAD_REQUEST')
      Object.assign(graphqlError.extensions.http ?? {}, { spec: false })
    return graphqlError
  }
  log.error({ err: cause, path: graphqlError?.path }, 'unexpected error in a GraphQL operation')
  return new GraphQLError(REQUEST_ERRORS.INTERNAL_SERVER_ERROR.message, {
    nodes: graphqlError?.nodes ?? null,
    path: graphqlError?.path ?? null,
    extensions: { code: 'INTERNAL_SERVER_ERROR' },
  })
}
