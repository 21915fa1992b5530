/**
 * Transport for server-sent events: one stream for each subscription (graphql-sse's "distinct connections"
 * mode).
 * Invariant: `complete` ends a finished subscription, and nothing else. A stream that is cut ends without it,
 * so the client reconnects with the cursor of the last `id` that it read.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { GraphQLError } from 'graphql'
import type { Caller } from '../../auth/authenticate.ts'
import type { RequestErrorCode } from '../../domain/errors.ts'
import { requestError } from '../../graphql/request-errors.ts'
import type { Payload } from '../../subscriptions/shared-operation.ts'
import type { OperationSink, Subscriber } from '../../subscriptions/subscription-group.ts'
import { type ErrorResponse, sendErrorResponse } from '../responses/error-response.ts'
import { BackpressuredWriter } from './backpressure.ts'
import type { ClientConnection, ConnectionRegistry } from './connection-registry.ts'

/** Writes a subscription's payloads as events to the response of its request. */
export class EventStreamSink implements OperationSink {
  readonly writer: BackpressuredWriter
  readonly #response: ServerResponse

  constructor(response: ServerResponse) {
    this.#response = response
    this.writer = new BackpressuredWriter(response)
  }

  /** Node keeps the headers three times. */
  get heldBytes(): number {
    const { rawHeaders, url = '' } = this.#response.req
    return 3 * rawHeaders.reduce((bytes, text) => bytes + text.length, url.length)
  }

  send(payloads: readonly Payload[]): boolean {
    if (this.#response.writableEnded || this.#response.destroyed) return false
    this.writer.write(payloads.flatMap(encodeEvent))
    return true
  }
}

export interface EventStreams {
  /** Writes the whole response: headers, events, end. */
  respond(
    request: IncomingMessage,
    response: ServerResponse,
    caller: Caller,
    subscription: Subscriber,
  ): Promise<void>
}

/** Range of the random reconnect delay that is sent as `retry:` at a restart. */
const RETRY_MS = [500, 3000] as const
/** Bytes that a slow client has not read within this time are dropped. */
const CLOSE_TIMEOUT_MS = 2000
const COMMENT = ':\n\n'
const COMPLETE = 'event: complete\ndata:\n\n'

export function createEventStreams(connectionRegistry: ConnectionRegistry): EventStreams {
  return {
    async respond(request, response, caller, subscription) {
      const { socket } = request
      const connection: ClientConnection = {
        caller,
        socket,
        respondsToPing: false,
        ping: () =>
          void (subscription.sink.writer.isFull() || response.writableEnded || response.write(COMMENT)),
        end(reason) {
          response.end(reason === 'restart' ? `retry: ${retryDelayMs()}\n\n` : '')
          setTimeout(() => response.destroy(), CLOSE_TIMEOUT_MS).unref()
        },
      }
      const rejection = connectionRegistry.admit(connection)
      if (rejection !== null) {
        subscription.end()
        return sendErrorResponse(response, ADMISSION_ERRORS[rejection])
      }

      // The kernel finds out a dead client that sent no FIN.
      socket.setKeepAlive(true, 12_000)
      const onClose = () => {
        socket.off('close', onClose)
        connectionRegistry.remove(connection)
        subscription.end()
      }
      if (response.destroyed) return onClose()
      // A response that is queued behind another one on the same connection never emits `close`.
      socket.once('close', onClose)
      response.once('close', onClose)
      response.on('error', () => response.destroy())
      // Listeners that have read the body: they would keep it, and what was parsed of it, as long as the stream.
      if (request.complete) request.removeAllListeners()
      // Some clients wait for a first byte.
      response.writeHead(200, EVENT_STREAM_HEADERS).write(COMMENT)
      const finalEvents = await subscription.next().then(
        () => COMPLETE,
        (error: GraphQLError) => `event: next\ndata: ${JSON.stringify({ errors: [error] })}\n\n${COMPLETE}`,
      )
      if (!response.writableEnded) response.end(finalEvents)
    },
  }
}

const EVENT_STREAM_HEADERS = {
  'content-type': 'text/event-stream; charset=utf-8',
  'cache-control': 'no-cache, no-transform',
  connection: 'keep-alive',
  // Nginx would buffer the events.
  'x-accel-buffering': 'no',
}
const EVENT_PREFIX = Buffer.from('event: next\ndata: ')
const EVENT_END = Buffer.from('\n\n')

function encodeEvent({ json, cursor }: Payload): Buffer[] {
  // Cuts the closing brace that only a WebSocket message needs.
  const event = [EVENT_PREFIX, json.subarray(0, -1), EVENT_END]
  return cursor === null ? event : [Buffer.from(`id: ${cursor}\n`), ...event]
}

const retryDelayMs = () => Math.round(RETRY_MS[0] + Math.random() * (RETRY_MS[1] - RETRY_MS[0]))

const errorResponse = (status: number, code: RequestErrorCode): ErrorResponse => ({
  status,
  error: requestError(code),
  headers: { 'retry-after': '1' },
})
const ADMISSION_ERRORS = {
  'too many': errorResponse(429, 'TOO_MANY_CONNECTIONS'),
  stopping: errorResponse(503, 'STOPPING'),
}
