/**
 * Who may ask at all, and whether it may read.
 * Invariant: nobody learns anything before its key is known, and a key that was taken back meanwhile begins nothing.
 */
import { type ExecutionArgs, getOperationAST } from 'graphql'
import type { Plugin } from 'graphql-yoga'
import type { Authenticate, Caller } from '../../auth/authenticate.ts'
import { may } from '../../domain/access-scope.ts'
import type { Context, Services } from '../../graphql/context.ts'
import { requestError } from '../../graphql/request-errors.ts'
import type { Rates } from '../limits/rate-limits.ts'
import { type Refused, slowedDown } from '../responses/error-response.ts'
import type { Door } from './operation.ts'

export type Admit = (authorization: string | undefined, address: string) => Promise<Caller | Refused>

/** Before anything of a body is read. */
export const createAdmit =
  (authenticate: Authenticate, rates: Pick<Rates, 'ofCaller'>, { turn, refused }: Services): Admit =>
  async (authorization, address) => {
    const caller = await authenticate.who(authorization, address)
    if (caller === null) return { status: 401, error: requestError('UNAUTHENTICATED') }
    if ('slowed' in caller) return slowedDown(caller.slowed)
    const { appId } = caller.scope
    const slowed = await rates.ofCaller(caller)
    if (slowed !== null) {
      refused(appId, 'RATE_LIMITED')
      return slowedDown(slowed)
    }
    await turn(appId)
    return caller
  }

/**
 * Before an operation begins: its body may have taken half a minute to come.
 * @throws request error UNAUTHENTICATED
 */
export async function mustStand(authenticate: Authenticate, { caller }: Door): Promise<void> {
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
