/**
 * Which path is whose. A request that fails in a way nobody foresaw is logged once and answered with 500.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { sendNodeResponse } from '@whatwg-node/server'
import { REQUEST_ERRORS } from '../errors.ts'
import { WEBHOOK_PATH } from '../webhook-address.ts'
import type { Health } from './health.ts'
import type { ErrorLog } from './mask.ts'
import type { Metrics } from './metrics.ts'
import { createEventStream, type EventStreamOptions } from './sse.ts'
import type { Webhook } from './webhook.ts'
import type { WebSockets } from './websocket.ts'
import { type Door, GRAPHQL_PATH, type Yoga } from './yoga.ts'

export interface Doors extends EventStreamOptions {
  yoga: Yoga
  webSockets: WebSockets
  webhook: Webhook
  health: Health
  metrics: Metrics
  log: ErrorLog
}

export function createHttp({ yoga, webSockets, webhook, health, metrics, log, ...streams }: Doors): Server {
  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = pathOf(request)
    if (!URL.canParse(`http://${request.headers.host ?? 'localhost'}`))
      return plain(response, 400, 'Host: no host name')
    if (path === GRAPHQL_PATH) return answerGraphql(request, response)
    if (path === WEBHOOK_PATH) return webhook(request, response, tokenIn(request))
    if (request.method !== 'GET' && request.method !== 'HEAD') return plain(response, 405, 'GET only')
    if (path === '/health/live') return health.live(response)
    if (path === '/health/ready') return health.ready(response)
    if (path === '/metrics') return metrics.answer(request, response)
    plain(response, 404, `There is nothing here. The API is at ${GRAPHQL_PATH}.`)
  }

  async function answerGraphql(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const stream = createEventStream(request, response, streams)
    const door: Door = { sink: stream.sink }
    const lastEventId = request.headers['last-event-id']
    if (typeof lastEventId === 'string' && lastEventId !== '') door.lastEventId = lastEventId
    const answer = await yoga.handleNodeRequestAndResponse(request, response, door)
    if (door.subscription && door.caller)
      await stream.answer(Object.fromEntries(answer.headers), door.caller, door.subscription)
    else await sendNodeResponse(answer, response, request, true)
  }

  const server = createServer((request, response) => {
    answer(request, response).catch(error => {
      log.error({ err: error }, 'a request failed in a way nobody foresaw')
      if (response.headersSent) response.destroy()
      else plain(response, 500, REQUEST_ERRORS.INTERNAL_SERVER_ERROR.message)
    })
  })

  server.on('upgrade', (request, socket, head) => {
    // Node hands the socket over without its own listener: a reset would end the process.
    socket.on('error', () => socket.destroy())
    if (pathOf(request) === GRAPHQL_PATH) webSockets.upgrade(request, socket, head)
    else socket.end(NOT_FOUND, () => socket.destroy())
  })

  return server
}

const NOT_FOUND = 'HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n'

const pathOf = ({ url }: IncomingMessage): string => (url ?? '/').split('?')[0] ?? '/'

/** Of a webhook's address. */
const tokenIn = ({ url }: IncomingMessage): string | null =>
  new URLSearchParams((url ?? '').split('?')[1]).get('p')

const plain = (response: ServerResponse, status: number, text: string): void =>
  void response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8' }).end(`${text}\n`)
