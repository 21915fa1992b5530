/**
 * From an error to what an app is shown of it.
 * Invariant: only errors made to be seen are seen; any other becomes "Unexpected error." and is logged once.
 */
import { GraphQLError } from 'graphql'
import { REQUEST_ERRORS } from '../domain/errors.ts'

export interface ErrorLog {
  error(fields: object, message: string): void
}

export function mask(error: unknown, log: ErrorLog): GraphQLError {
  const known = error instanceof GraphQLError ? error : null
  const cause = known === null ? error : (known.originalError ?? null)
  if (known !== null && (cause === null || cause instanceof GraphQLError)) {
    // Yoga shows the error of its JSON parser here.
    delete known.extensions.originalError
    // And takes what is no JSON for an answer of GraphQL's, with a 200.
    if (known.extensions.code === 'BAD_REQUEST') Object.assign(known.extensions.http ?? {}, { spec: false })
    return known
  }
  log.error({ err: cause, path: known?.path }, 'unexpected error in a GraphQL operation')
  return new GraphQLError(REQUEST_ERRORS.INTERNAL_SERVER_ERROR.message, {
    nodes: known?.nodes ?? null,
    path: known?.path ?? null,
    extensions: { code: 'INTERNAL_SERVER_ERROR' },
  })
}
