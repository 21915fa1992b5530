/**
 * The door for server-sent events: a subscription's payloads as one stream (graphql-sse's "distinct connections" mode).
 * Invariant: `complete` stands at the end of what is done, and of nothing else; what is cut short ends without it, so that
 * a client comes back, with the cursor in the last `id` it read.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { GraphQLError } from 'graphql'
import type { Caller } from '../../auth/authenticate.ts'
import type { RequestErrorCode } from '../../domain/errors.ts'
import { requestError } from '../../graphql/request-errors.ts'
import type { Payload } from '../../subscriptions/shared-operation.ts'
import type { Sink, Subscriber } from '../../subscriptions/subscription-group.ts'
import { answerRefused, type Refused } from '../responses/error-response.ts'
import { Outlet } from './backpressure.ts'
import type { Connection, Connections } from './connection-registry.ts'
import type { Heartbeat } from './keep-alive.ts'

export interface EventStream {
  sink: Sink
  /** Everything from the head on, to the end. */
  answer(head: Record<string, string>, caller: Caller, subscription: Subscriber): Promise<void>
}

export interface EventStreamOptions {
  connections: Connections
  heartbeat: Heartbeat
}

/** After a stop a client comes back after so long, ms: each after another time. */
const RETRY_MS = [500, 3000] as const
/** What a slow peer has not read by then it does not get. */
const GOODBYE_MS = 2000
const COMMENT = ':\n\n'
const COMPLETE = 'event: complete\ndata:\n\n'

export function createEventStream(
  request: IncomingMessage,
  response: ServerResponse,
  { connections, heartbeat }: EventStreamOptions,
): EventStream {
  const outlet = new Outlet(response)

  return {
    sink: {
      isFull: () => outlet.isFull(),
      drained: () => outlet.drained(),
      send(payloads) {
        if (response.writableEnded || response.destroyed) return false
        outlet.write(payloads.flatMap(eventOf))
        return true
      },
    },

    async answer(head, caller, subscription) {
      const connection: Connection = {
        caller,
        end(why) {
          response.end(why === 'restart' ? `retry: ${retryAfter()}\n\n` : '')
          setTimeout(() => response.destroy(), GOODBYE_MS).unref()
        },
      }
      const refusal = connections.admit(connection)
      if (refusal !== null) return answerRefused(response, REFUSALS[refusal])

      // A peer that is gone without a word is found out by the kernel.
      request.socket.setKeepAlive(true, 12_000)
      const pulsing = {
        socket: request.socket,
        answers: false,
        ping: () => void (outlet.isFull() || response.writableEnded || response.write(COMMENT)),
      }
      heartbeat.watch(pulsing)
      const { socket } = request
      const leave = () => {
        socket.off('close', leave)
        heartbeat.unwatch(pulsing)
        connections.leave(connection)
        subscription.end()
      }
      if (response.destroyed) return leave()
      // One that waits behind another on the same connection never hears that it closed.
      socket.once('close', leave)
      response.once('close', leave)
      response.on('error', () => response.destroy())
      // Some clients wait for a first byte.
      response.writeHead(200, head).write(COMMENT)
      const end = await subscription.next().then(
        () => COMPLETE,
        (error: GraphQLError) => `event: next\ndata: ${JSON.stringify({ errors: [error] })}\n\n${COMPLETE}`,
      )
      if (!response.writableEnded) response.end(end)
    },
  }
}

const DATA = Buffer.from('event: next\ndata: ')
const END = Buffer.from('\n\n')

function eventOf({ tail, cursor }: Payload): Buffer[] {
  // Without the brace that is there for a WebSocket's message.
  const event = [DATA, tail.subarray(0, -1), END]
  return cursor === null ? event : [Buffer.from(`id: ${cursor}\n`), ...event]
}

const retryAfter = () => Math.round(RETRY_MS[0] + Math.random() * (RETRY_MS[1] - RETRY_MS[0]))

const refused = (status: number, code: RequestErrorCode): Refused => ({
  status,
  error: requestError(code),
  headers: { 'retry-after': '1' },
})
const REFUSALS = {
  'too many': refused(429, 'TOO_MANY_CONNECTIONS'),
  stopping: refused(503, 'STOPPING'),
}
