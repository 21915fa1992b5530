/**
 * Request errors, each from the one table: the code in `extensions.code`, the message as the table has it.
 */
import { GraphQLError } from 'graphql'
import { REQUEST_ERRORS, type RequestErrorCode } from '../domain/errors.ts'

export const requestError = (
  code: RequestErrorCode,
  message: string = REQUEST_ERRORS[code].message,
): GraphQLError => new GraphQLError(message, { extensions: { code } })

/** @param expected what is allowed, to stand behind "expected" */
export const badArgument = (argument: string, expected: string): GraphQLError =>
  requestError('BAD_ARGUMENT', `${argument}: expected ${expected}`)
