/**
 * Authenticates and rate-limits a request, and checks the permission to read.
 * Invariant: nothing is revealed before the credential is verified. A credential that was revoked meanwhile
 * starts nothing.
 */
import { type ExecutionArgs, getOperationAST } from 'graphql'
import type { Plugin } from 'graphql-yoga'
import type { Authenticate, Caller } from '../../auth/authenticate.ts'
import { hasPermission } from '../../domain/access-scope.ts'
import type { Context, Services } from '../../graphql/context.ts'
import { requestError } from '../../graphql/request-errors.ts'
import type { RateLimits } from '../limits/rate-limits.ts'
import { type ErrorResponse, rateLimitedResponse } from '../responses/error-response.ts'
import type { TransportRequest } from './operation.ts'

export type Admit = (authorization: string | undefined, address: string) => Promise<Caller | ErrorResponse>

/** Runs before the body is read. */
export const createAdmit =
  (
    authenticate: Authenticate,
    rateLimits: Pick<RateLimits, 'consumeCaller'>,
    { nextSlice, countRejection }: Services,
  ): Admit =>
  async (authorization, address) => {
    const caller = await authenticate.authenticate(authorization, address)
    if (caller === null) return { status: 401, error: requestError('UNAUTHENTICATED') }
    if ('retryAfterMs' in caller) return rateLimitedResponse(caller.retryAfterMs)
    const { appId } = caller.scope
    const retryAfterMs = await rateLimits.consumeCaller(caller)
    if (retryAfterMs !== null) {
      countRejection(appId, 'RATE_LIMITED')
      return rateLimitedResponse(retryAfterMs)
    }
    await nextSlice(appId)
    return caller
  }

/**
 * Checks the credential again right before the operation starts: its body may have taken half a minute to
 * arrive.
 * @throws request error UNAUTHENTICATED
 */
export async function assertCredentialStillValid(
  authenticate: Authenticate,
  { caller }: TransportRequest,
): Promise<void> {
  if (await authenticate.isStillValid(caller)) return
  const error = requestError('UNAUTHENTICATED')
  error.extensions.http = { status: 401 }
  throw error
}

/** A token without READ may only run mutations, which check their own permissions. */
export const useReadPermission = (): Plugin<Context> => {
  const isReadForbidden = ({ document, operationName, contextValue }: ExecutionArgs) =>
    getOperationAST(document, operationName)?.operation !== 'mutation' &&
    !hasPermission((contextValue as Context).access, 'READ')
  // A result, because an error thrown before an operation would close the whole WebSocket.
  const forbiddenResult = ({ contextValue }: ExecutionArgs) => {
    const { countRejection, scope } = contextValue as Context
    countRejection(scope.appId, 'FORBIDDEN')
    return { errors: [requestError('FORBIDDEN')] }
  }
  return {
    onExecute({ args, setResultAndStopExecution }) {
      if (isReadForbidden(args)) setResultAndStopExecution(forbiddenResult(args))
    },
    onSubscribe({ args, setResultAndStopExecution }) {
      if (isReadForbidden(args)) setResultAndStopExecution(forbiddenResult(args))
    },
  }
}
