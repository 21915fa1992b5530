/**
 * Transport for graphql-transport-ws: opens, watches and closes the WebSockets. websocket-protocol.ts runs
 * their operations.
 */
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { handleProtocols } from 'graphql-ws'
import { type ServerOptions, type WebSocket, WebSocketServer } from 'ws'
import type { Services } from '../../graphql/context.ts'
import type { ErrorLog } from '../../graphql/error-mask.ts'
import { rejectUpgrade } from '../responses/security-headers.ts'
import { CLOSE_CODES, WebSocketConnection } from './websocket-connection.ts'
import { createWebSocketProtocol, type WebSocketProtocolOptions } from './websocket-protocol.ts'
import { patchWsReceiver } from './ws-receiver-patch.ts'

export interface WebSockets {
  /** @param network the client's network */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer, network: string): void
  /** Rejects new connections from now on. */
  stopAccepting(): void
  /** Closes all connections. A client that does not answer within `graceMs` is terminated. */
  close(graceMs: number): Promise<void>
}

export interface WebSocketOptions extends WebSocketProtocolOptions {
  limits: WebSocketLimits
  nextSlice: Services['nextSlice']
  log: ErrorLog & { debug(fields: object, message: string): void }
}

export interface WebSocketLimits {
  maxMessageBytes: number
  maxSubscriptionsPerConnection: number
  maxOperationsPerSecond: number
  /** Time for `connection_init` to arrive. */
  initTimeoutMs?: number | undefined
}

/** Time for the client to answer the close frame. */
const CLOSE_TIMEOUT_MS = 2000
/** Max frames of a message, and max reads of the socket for a frame. ws keeps an object for each. Above it: 1008. */
const MAX_FRAGMENTS = 256
const MAX_BUFFERED_CHUNKS = 4096
/** Max bytes before authentication: enough for a token. */
const MAX_UNAUTHENTICATED_BYTES = 16 * 1024

export function createWebSockets(options: WebSocketOptions): WebSockets {
  const { connectionRegistry, limits, nextSlice, log } = options
  const serverOptions: ServerOptions & { closeTimeout: number } = {
    noServer: true,
    handleProtocols,
    maxPayload: limits.maxMessageBytes,
    maxFragments: MAX_FRAGMENTS,
    maxBufferedChunks: MAX_BUFFERED_CHUNKS,
    perMessageDeflate: false,
    closeTimeout: CLOSE_TIMEOUT_MS,
    // WebSocketConnection sends the pongs, and counts the pings by their bytes.
    autoPong: false,
    // Each message gets an iteration of the event loop of its own. Otherwise graphql-ws sends `complete` twice for an
    // operation id that a client completes and uses again in one TCP chunk.
    allowSynchronousEvents: false,
  }
  patchWsReceiver()
  const server = new WebSocketServer(serverOptions)
  const connectionOptions = { maxOperationsPerSecond: limits.maxOperationsPerSecond, nextSlice, log }
  let isStopping = false

  const protocol = createWebSocketProtocol(options)

  function open(client: WebSocket, socket: Socket, network: string): void {
    const connection = new WebSocketConnection(client, socket, network, connectionOptions)
    connection.limitUnauthenticatedBytes(MAX_UNAUTHENTICATED_BYTES)
    const onClosed = protocol.opened(connection, connection)
    client.on('ping', data => connection.pong(data))
    client.on('pong', ({ length }) => connection.consumeMessage(length))
    client.on('error', logProtocolError)
    client.once('close', (code, reason) => {
      if (connection.isAdmitted) connectionRegistry.remove(connection)
      onClosed(code, String(reason))?.catch(error =>
        log.error({ err: error }, 'unexpected error in the close of a WebSocket'),
      )
    })
  }

  /** ws has already closed the connection with the right code. */
  const logProtocolError = (error: Error) => log.debug({ err: error }, 'WebSocket protocol error')

  return {
    upgrade(request, socket, head, network) {
      if (isStopping) return rejectUpgrade(socket, '503 Service Unavailable', { 'retry-after': '1' })
      server.handleUpgrade(request, socket, head, client => open(client, request.socket, network))
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
