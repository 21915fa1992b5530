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

/** Max errors of an answer. */
const MAX_ERRORS = 50
/** A message may quote a value or a name of the request, however long. */
const MAX_MESSAGE_CHARACTERS = 1000
const MAX_LOCATIONS = 10

/** The first errors, with the start of each message. */
export const limitErrors = (errors: readonly GraphQLError[]): readonly GraphQLError[] =>
  errors.slice(0, MAX_ERRORS).map(limitError)

function limitError(error: GraphQLError): GraphQLError {
  const { message, nodes, source, positions, path, originalError, extensions } = error
  if (message.length <= MAX_MESSAGE_CHARACTERS && (nodes?.length ?? 0) <= MAX_LOCATIONS) return error
  return new GraphQLError(
    message.length > MAX_MESSAGE_CHARACTERS ? `${message.slice(0, MAX_MESSAGE_CHARACTERS)}…` : message,
    {
      nodes: nodes?.slice(0, MAX_LOCATIONS) ?? null,
      source: source ?? null,
      positions: nodes ? null : (positions ?? null),
      path: path ?? null,
      originalError: originalError ?? null,
      extensions,
    },
  )
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
