/**
 * From an error to what an app is shown of it.
 * Invariant: only errors made to be seen are seen; any other becomes "Unexpected error." and is logged once.
 */
import { GraphQLError } from 'graphql'
import { REQUEST_ERRORS } from '../errors.ts'

export interface ErrorLog {
  error(fields: object, message: string): void
}

export function mask(error: unknown, log: ErrorLog): GraphQLError {
  if (error instanceof GraphQLError) {
    const cause = error.originalError
    // Yoga shows the error of its JSON parser here.
    delete error.extensions.originalError
    if (cause === undefined || cause === null || cause instanceof GraphQLError) return error
  }
  const cause = (error instanceof GraphQLError && error.originalError) || error
  const { path, nodes } = error instanceof GraphQLError ? error : { path: undefined, nodes: undefined }
  log.error({ err: cause, path }, 'an operation failed in a way nobody foresaw')
  return new GraphQLError(REQUEST_ERRORS.INTERNAL_SERVER_ERROR.message, {
    nodes: nodes ?? null,
    path: path ?? null,
    extensions: { code: 'INTERNAL_SERVER_ERROR' },
  })
}
