/**
 * The graphql-transport-ws protocol, spoken by graphql-ws: authenticates connections, limits and runs their
 * operations.
 * Invariant: what graphql-ws keeps while a subscription lives holds nothing of its request. Thousands of
 * subscriptions live long.
 */
import { type FormattedExecutionResult, type GraphQLError, type GraphQLFormattedError, parse } from 'graphql'
import { makeServer, type Server } from 'graphql-ws'
import type { RequestErrorCode } from '../../domain/errors.ts'
import type { AppId } from '../../domain/prediction.ts'
import type { Services } from '../../graphql/context.ts'
import type { ErrorLog } from '../../graphql/error-mask.ts'
import { badArgument, requestError } from '../../graphql/request-errors.ts'
import { schema } from '../../graphql/schema.ts'
import type { Admissions } from '../operation/admission.ts'
import type { PreparedOperation, PrepareOperation } from '../operation/operation.ts'
import { rateLimitedError } from '../responses/error-response.ts'
import type { ConnectionRegistry } from './connection-registry.ts'
import type { CLOSE_CODES, WebSocketConnection } from './websocket-connection.ts'
import { WebSocketSink } from './websocket-sink.ts'

export type WebSocketProtocol = Pick<Server<WebSocketConnection>, 'opened'>

export interface WebSocketProtocolOptions {
  prepare: PrepareOperation
  admissions: Admissions
  connectionRegistry: ConnectionRegistry
  limits: { maxSubscriptionsPerConnection: number; initTimeoutMs?: number | undefined }
  countRejection: Services['countRejection']
  log: ErrorLog
}

/** The id is written before every payload. */
const MAX_ID_CHARACTERS = 1000
const INIT_TIMEOUT_MS = 3000

export function createWebSocketProtocol(options: WebSocketProtocolOptions): WebSocketProtocol {
  const { prepare, admissions, connectionRegistry, limits, log } = options

  const protocol = makeServer<{ authorization?: unknown }, WebSocketConnection>({
    connectionInitWaitTimeout: limits.initTimeoutMs ?? INIT_TIMEOUT_MS,

    async onConnect(context) {
      const { connectionParams, extra: connection } = context
      // graphql-ws would keep the credential as long as the connection.
      Object.assign(context, { connectionParams: undefined })
      const rejection = await admit(connection, connectionParams?.authorization)
      if (rejection !== null) connection.closeFor(rejection)
      return rejection === null
    },

    async onSubscribe({ extra: connection, subscriptions }, id, params) {
      const { appId } = connection.caller.scope
      if (!connection.operationTokens.tryTake()) return [reject(appId, 'TOO_MANY_OPERATIONS')]
      if (id.length > MAX_ID_CHARACTERS) return [badArgument('id', `at most ${MAX_ID_CHARACTERS} characters`)]
      if (Object.keys(subscriptions).length > limits.maxSubscriptionsPerConnection)
        return [reject(appId, 'TOO_MANY_SUBSCRIPTIONS')]
      const retryAfterMs = await admissions.admitOperation(connection.caller)
      if (retryAfterMs !== null) return [rateLimitedError(retryAfterMs)]
      const operation = await prepare({
        caller: connection.caller,
        params: { ...params },
        isClientGone: () => !connection.isOpen,
        openSink: () => new WebSocketSink(connection, id),
        lastEventId: null,
        httpRequest: null,
      })
      // graphql-ws keeps the message as long as the subscription.
      Object.assign(params, RELEASED_PARAMS)
      if ('errors' in operation) return operation.errors
      // graphql-ws passes only execution arguments on to `execute` and `subscribe`. The context value is the one that
      // graphql-ws itself does not read. Of the document it reads the kind, and keeps it as long as the subscription.
      const contextValue: RunningOperation = { operation, connection }
      return { schema, document: DOCUMENT_OF_KIND[operation.kind], contextValue }
    },

    async execute({ contextValue }) {
      const { operation, connection } = contextValue as RunningOperation
      const outcome = await connection.runSerially(operation.run)
      // Null: the client has disconnected, and does not read it.
      return outcome?.kind === 'result' ? outcome.result : EMPTY_RESULT
    },

    async subscribe(args) {
      const { operation } = args.contextValue as RunningOperation
      Object.assign(args, { contextValue: null })
      const outcome = await operation.run()
      return outcome.kind === 'subscription' ? outcome.subscription : outcome.result
    },

    onNext: (_context, _id, _params, _args, result) =>
      result.errors && ({ ...result, errors: result.errors.map(withoutStatus) } as FormattedExecutionResult),
    onError: (_context, _id, _params, errors) => errors.map(withoutStatus),
  })

  function reject(app: AppId, code: RequestErrorCode): GraphQLError {
    options.countRejection(app, code)
    return requestError(code)
  }

  async function admit(
    connection: WebSocketConnection,
    authorization: unknown,
  ): Promise<keyof typeof CLOSE_CODES | null> {
    try {
      const admission = await admissions.admitCaller(authorization, connection.network)
      if (admission.kind === 'unauthenticated') return 'unauthorized'
      if (admission.kind === 'rate-limited') return 'try again'
      connection.caller = admission.caller
    } catch (error) {
      log.error({ err: error }, 'credential lookup failed')
      return 'try again'
    }
    // A connection that closed during the lookup would never be removed.
    if (!connection.isOpen) return 'restart'
    const rejection = connectionRegistry.admit(connection)
    connection.isAdmitted = rejection === null
    connection.liftUnauthenticatedLimit()
    return rejection
  }

  return protocol
}

interface RunningOperation {
  operation: PreparedOperation
  connection: WebSocketConnection
}

/** Removes `extensions.http`, which is for HTTP only. */
function withoutStatus(error: GraphQLError): GraphQLFormattedError {
  const { extensions, ...shown } = error.toJSON()
  const { http: _, ...others } = extensions ?? {}
  return Object.keys(others).length > 0 ? { ...shown, extensions: others } : shown
}

const EMPTY_RESULT = { data: null }
const RELEASED_PARAMS = { query: '', operationName: undefined, variables: undefined, extensions: undefined }
/** Documents that say no more than the kind of an operation. */
const DOCUMENT_OF_KIND = {
  query: parse('{ __typename }'),
  mutation: parse('mutation { __typename }'),
  subscription: parse('subscription { __typename }'),
}
