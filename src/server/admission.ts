/**
 * Who may ask at all, and whether it may read.
 * Invariant: nobody learns anything before its key is known, and a key that was taken back meanwhile begins nothing.
 */
import { type ExecutionArgs, type GraphQLError, getOperationAST } from 'graphql'
import type { Plugin } from 'graphql-yoga'
import type { Context, Services } from '../graphql/context.ts'
import { requestError } from '../graphql/request-error.ts'
import { may } from '../scope.ts'
import type { Authenticate, Caller } from './auth.ts'
import { type Rates, rateLimited, retryAfter } from './rates.ts'
import type { Door } from './yoga.ts'

/** Before anything of the body is read. */
export const useAuthentication = (
  authenticate: Authenticate,
  rates: Pick<Rates, 'ofCaller'>,
  { turn, refused }: Services,
): Plugin<Context, Door> => ({
  async onRequest({ request, serverContext, endResponse, fetchAPI }) {
    const { headers } = request
    const caller = await authenticate.who(headers.get('authorization'), serverContext?.address)
    const refuse = (status: number, error: GraphQLError, more = {}) =>
      endResponse(fetchAPI.Response.json({ errors: [error] }, { status, headers: more }))
    if (caller === null) return refuse(401, requestError('UNAUTHENTICATED'))
    const wait = (ms: number) => refuse(429, rateLimited(ms), { 'retry-after': retryAfter(ms) })
    if ('slowed' in caller) return wait(caller.slowed)
    const { appId } = caller.scope
    const slowed = await rates.ofCaller(caller)
    if (slowed !== null) {
      refused(appId, 'RATE_LIMITED')
      return wait(slowed)
    }
    Object.assign(serverContext ?? {}, { caller })
    await turn(appId)
  },
})

/**
 * Before an operation begins: its body may have taken half a minute to come.
 * @throws request error UNAUTHENTICATED
 */
export async function mustStand(authenticate: Authenticate, caller: Caller): Promise<void> {
  if (await authenticate.stands(caller)) return
  const error = requestError('UNAUTHENTICATED')
  error.extensions.http = { status: 401 }
  throw error
}

/** A token without READ is for mutations alone, which judge for themselves. */
export const usePermission = (): Plugin<Context> => {
  const isBarred = ({ document, operationName, contextValue }: ExecutionArgs) =>
    getOperationAST(document, operationName)?.operation !== 'mutation' &&
    !may((contextValue as Context).access, 'READ')
  // An answer: what is thrown in front of an operation would end a whole socket.
  const refusal = ({ contextValue }: ExecutionArgs) => {
    const { refused, scope } = contextValue as Context
    refused(scope.appId, 'FORBIDDEN')
    return { errors: [requestError('FORBIDDEN')] }
  }
  return {
    onExecute({ args, setResultAndStopExecution }) {
      if (isBarred(args)) setResultAndStopExecution(refusal(args))
    },
    onSubscribe({ args, setResultAndStopExecution }) {
      if (isBarred(args)) setResultAndStopExecution(refusal(args))
    },
  }
}
