/**
 * The graphql-transport-ws protocol, spoken by graphql-ws: authenticates connections, limits and runs their
 * operations.
 * Invariant: what graphql-ws keeps while a subscription lives holds nothing of its request. Thousands of
 * subscriptions live long.
 */
import type { FormattedExecutionResult, GraphQLError, GraphQLFormattedError } from 'graphql'
import { makeServer, type Server } from 'graphql-ws'
import type { Authenticate } from '../../auth/authenticate.ts'
import type { RequestErrorCode } from '../../domain/errors.ts'
import type { AppId } from '../../domain/prediction.ts'
import type { Services } from '../../graphql/context.ts'
import type { ErrorLog } from '../../graphql/error-mask.ts'
import { badArgument, requestError } from '../../graphql/request-errors.ts'
import { schema } from '../../graphql/schema.ts'
import type { RateLimits } from '../limits/rate-limits.ts'
import type { OperationRequest, PreparedOperation, PrepareOperation } from '../operation/operation.ts'
import { rateLimitedError } from '../responses/error-response.ts'
import type { ConnectionRegistry } from './connection-registry.ts'
import type { CLOSE_CODES, WebSocketConnection } from './websocket-connection.ts'
import { WebSocketSink } from './websocket-sink.ts'

export type WebSocketProtocol = Pick<Server<WebSocketConnection>, 'opened'>

export interface WebSocketProtocolOptions {
  prepare: PrepareOperation
  authenticate: Authenticate
  connectionRegistry: ConnectionRegistry
  rateLimits: Pick<RateLimits, 'consumeCaller'>
  limits: { maxSubscriptionsPerConnection: number; initTimeoutMs?: number | undefined }
  countRejection: Services['countRejection']
  nextSlice: Services['nextSlice']
  log: ErrorLog
}

/** The id is written before every payload. */
const MAX_ID_CHARACTERS = 1000
const INIT_TIMEOUT_MS = 3000

export function createWebSocketProtocol(options: WebSocketProtocolOptions): WebSocketProtocol {
  const { prepare, authenticate, connectionRegistry, rateLimits, limits, nextSlice, log } = options

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
      if (!connection.tryConsumeOperation()) return [reject(appId, 'TOO_MANY_OPERATIONS')]
      if (id.length > MAX_ID_CHARACTERS) return [badArgument('id', `at most ${MAX_ID_CHARACTERS} characters`)]
      if (Object.keys(subscriptions).length > limits.maxSubscriptionsPerConnection)
        return [reject(appId, 'TOO_MANY_SUBSCRIPTIONS')]
      const retryAfterMs = await rateLimits.consumeCaller(connection.caller)
      if (retryAfterMs !== null) {
        reject(appId, 'RATE_LIMITED')
        return [rateLimitedError(retryAfterMs)]
      }
      await nextSlice(appId)
      const operationRequest: OperationRequest = {
        caller: connection.caller,
        address: connection.address,
        isClientGone: () => !connection.isOpen,
        sink: new WebSocketSink(connection, id),
        params: { ...params },
      }
      const operation = await prepare(operationRequest)
      const { operationName } = params
      Object.assign(params, { query: '', variables: undefined })
      if ('errors' in operation) return operation.errors
      const { document } = operation
      return {
        schema,
        document,
        operationName,
        rootValue: { operation, connection },
        contextValue: null,
      }
    },

    async execute({ rootValue }) {
      const { operation, connection } = rootValue as RunningOperation
      return (await connection.runSerially(operation.run)) ?? EMPTY_RESULT
    },

    subscribe(args) {
      const { operation } = args.rootValue as RunningOperation
      Object.assign(args, { rootValue: null })
      return operation.run()
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
      const caller = await authenticate.authenticate(authorization, connection.address)
      if (caller === null) return 'unauthorized'
      if ('retryAfterMs' in caller || (await rateLimits.consumeCaller(caller)) !== null) return 'try again'
      connection.caller = caller
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

/** The client has disconnected, and does not read it. */
const EMPTY_RESULT = { data: null }
