/**
 * Request errors with code and message from REQUEST_ERRORS; the code is in `extensions.code`.
 */
import { GraphQLError } from 'graphql'
import { REQUEST_ERRORS, type RequestErrorCode } from '../domain/errors.ts'

export const requestError = (
  code: RequestErrorCode,
  message: string = REQUEST_ERRORS[code].message,
): GraphQLError => new GraphQLError(message, { extensions: { code } })

/** @param expected the allowed values, appended to "expected" */
export const badArgument = (argument: string, expected: string): GraphQLError =>
  requestError('BAD_ARGUMENT', `${argument}: expected ${expected}`)
