/**
 * The door for graphql-transport-ws. graphql-ws speaks the protocol, the executor is everybody's, and what a subscription
 * tells is written past both (peer.ts).
 * Invariant: what graphql-ws keeps for as long as a subscription lives, thousands of times, holds nothing of how it was
 * asked for.
 */
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { FormattedExecutionResult, GraphQLError, GraphQLFormattedError } from 'graphql'
import { handleProtocols, makeServer } from 'graphql-ws'
import { type ServerOptions, type WebSocket, WebSocketServer } from 'ws'
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
import { rejectUpgrade } from '../responses/security-headers.ts'
import type { ConnectionRegistry } from './connection-registry.ts'
import type { KeepAlive } from './keep-alive.ts'
import { CLOSE_CODES, WebSocketConnection, WebSocketSink } from './websocket-connection.ts'
import { patchWsReceiver } from './ws-receiver-patch.ts'

export interface WebSockets {
  /** @param address the client's */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer, address: string): void
  /** Refuses whoever comes, from here on. */
  stopAccepting(): void
  /** Closes what is left; a socket that does not answer within `graceMs` is cut. */
  close(graceMs: number): Promise<void>
}

export interface WebSocketOptions {
  prepare: PrepareOperation
  authenticate: Authenticate
  connectionRegistry: ConnectionRegistry
  keepAlive: KeepAlive
  rateLimits: Pick<RateLimits, 'consumeCaller'>
  limits: WebSocketLimits
  countRejection: Services['countRejection']
  nextSlice: Services['nextSlice']
  log: ErrorLog & { debug(fields: object, message: string): void }
}

export interface WebSocketLimits {
  maxMessageBytes: number
  maxSubscriptionsPerConnection: number
  maxOperationsPerSecond: number
  /** For `connection_init` to come, ms. */
  initTimeoutMs?: number | undefined
}

/** It stands before everything that is told. */
const MAX_ID_CHARACTERS = 1000
/** A peer has so long to answer its close frame. */
const CLOSE_TIMEOUT_MS = 2000
const INIT_TIMEOUT_MS = 3000
/** Before its key is known: room for a token, and none to fill the memory. */
const MAX_UNAUTHENTICATED_BYTES = 16 * 1024

export function createWebSockets(options: WebSocketOptions): WebSockets {
  const { prepare, authenticate, connectionRegistry, keepAlive, rateLimits, limits, log, nextSlice } = options
  const serverOptions: ServerOptions & { closeTimeout: number } = {
    noServer: true,
    handleProtocols,
    maxPayload: limits.maxMessageBytes,
    perMessageDeflate: false,
    closeTimeout: CLOSE_TIMEOUT_MS,
    // The peer sends them: they count as bytes like any other.
    autoPong: false,
    // With them, an id completed and used again in one packet is completed twice.
    allowSynchronousEvents: false,
  }
  patchWsReceiver()
  const server = new WebSocketServer(serverOptions)
  const connectionOptions = { maxOperationsPerSecond: limits.maxOperationsPerSecond, log }
  let isStopping = false

  const protocol = makeServer<{ authorization?: unknown }, WebSocketConnection>({
    connectionInitWaitTimeout: limits.initTimeoutMs ?? INIT_TIMEOUT_MS,

    async onConnect(context) {
      const { connectionParams, extra: connection } = context
      // The key is nothing to keep in memory.
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
        ...{ caller: connection.caller, address: connection.address },
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
      log.error({ err: error }, 'a key could not be looked up')
      return 'try again'
    }
    // It may have gone meanwhile, and would never leave again.
    if (!connection.isOpen) return 'restart'
    const rejection = connectionRegistry.admit(connection)
    connection.isAdmitted = rejection === null
    connection.liftUnauthenticatedLimit()
    return rejection
  }

  function open(client: WebSocket, socket: Socket, address: string): void {
    const connection = new WebSocketConnection(client, socket, address, connectionOptions)
    connection.limitUnauthenticatedBytes(MAX_UNAUTHENTICATED_BYTES)
    const onClosed = protocol.opened(connection, connection)
    keepAlive.watch(connection)
    client.on('ping', data => connection.pong(data))
    client.on('pong', () => connection.consumeMessage())
    client.on('error', logProtocolError)
    client.once('close', (code, reason) => {
      keepAlive.unwatch(connection)
      if (connection.isAdmitted) connectionRegistry.remove(connection)
      onClosed(code, String(reason))?.catch(error =>
        log.error({ err: error }, 'unexpected error in the close of a WebSocket'),
      )
    })
  }

  /** ws has closed it by then, with the right code. */
  const logProtocolError = (error: Error) => log.debug({ err: error }, 'a WebSocket broke the protocol')

  return {
    upgrade(request, socket, head, address) {
      if (isStopping) return rejectUpgrade(socket, '503 Service Unavailable', { 'retry-after': '1' })
      server.handleUpgrade(request, socket, head, client => open(client, request.socket, address))
    },

    stopAccepting() {
      isStopping = true
    },

    async close(graceMs) {
      isStopping = true
      const closed = [...server.clients].map(
        client =>
          new Promise<void>(resolve => {
            const terminateTimer = setTimeout(() => client.terminate(), graceMs)
            client.once('close', () => {
              clearTimeout(terminateTimer)
              resolve()
            })
            client.close(...CLOSE_CODES.restart)
          }),
      )
      await Promise.all(closed)
      server.close()
    },
  }
}

interface RunningOperation {
  operation: PreparedOperation
  connection: WebSocketConnection
}

/** It is for HTTP alone. */
function withoutStatus(error: GraphQLError): GraphQLFormattedError {
  const { extensions, ...shown } = error.toJSON()
  const { http: _, ...others } = extensions ?? {}
  return Object.keys(others).length > 0 ? { ...shown, extensions: others } : shown
}

/** Nobody reads it. */
const EMPTY_RESULT = { data: null }
