/**
 * Who may come in at all, and which path is whose. A request that fails in a way nobody foresaw is logged once and answered with 500.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { sendNodeResponse } from '@whatwg-node/server'
import { REQUEST_ERRORS } from '../../domain/errors.ts'
import { UPLOAD_PATH } from '../../domain/upload.ts'
import type { ErrorLog } from '../../graphql/error-mask.ts'
import type { Metrics } from '../../observability/metrics.ts'
import { WEBHOOK_PATH } from '../../upstream/webhook-url.ts'
import type { Crowd } from '../limits/connections-per-address.ts'
import type { Rates } from '../limits/rate-limits.ts'
import type { Admit } from '../operation/admission.ts'
import type { Yoga } from '../operation/executor.ts'
import { isForm } from '../operation/multipart-plugin.ts'
import { type Door, GRAPHQL_PATH } from '../operation/operation.ts'
import { answerRefused, retryAfter, slowedDown } from '../responses/error-response.ts'
import { refuseUpgrade } from '../responses/security-headers.ts'
import { createEventStream, type EventStreamOptions } from '../transports/event-stream.ts'
import type { WebSockets } from '../transports/websocket-server.ts'
import type { Previews } from '../uploads/upload-preview.ts'
import type { Pages } from '../web/dashboard-assets.ts'
import { GRAPHIQL_PARTS, type Graphiql } from '../web/graphiql.ts'
import type { Addresses } from './client-address.ts'
import type { Origins } from './cors.ts'
import type { Health } from './health.ts'
import type { PlainPost } from './json-fast-path.ts'
import type { Webhook } from './webhook-endpoint.ts'

export interface Doors extends EventStreamOptions {
  addresses: Addresses
  crowd: Crowd
  origins: Origins
  rates: Pick<Rates, 'ofAddress'>
  setHeaders(response: ServerResponse): void
  mostConnections: number
  patience?: Partial<Patience> | undefined
  admit: Admit
  plainPost: PlainPost
  yoga: Yoga
  graphiql: Graphiql
  webSockets: WebSockets
  webhook: Webhook
  previews: Previews
  health: Health
  metrics: Metrics
  pages: Pages
  log: ErrorLog
}

/** Milliseconds. What has come in whole, an event stream too, may take as long as it will. */
export interface Patience {
  /** From the first moment of a connection, or of a next request, to the end of its head. */
  headersTimeout: number
  /** And of its body, if that is no form. */
  requestTimeout: number
  /** And of a form: 25 MB over a slow line. */
  uploadTimeout: number
  /** Longer than load balancers keep theirs, which is a minute mostly. */
  keepAliveTimeout: number
  connectionsCheckingInterval: number
  /** Nothing came, and nothing that was sent was taken. */
  idleTimeout: number
}

const PATIENCE: Patience = {
  headersTimeout: 10_000,
  requestTimeout: 30_000,
  uploadTimeout: 5 * 60_000,
  keepAliveTimeout: 65_000,
  connectionsCheckingInterval: 2000,
  idleTimeout: 120_000,
}

export function createHttp(doors: Doors): Server {
  const { plainPost, yoga, graphiql, webSockets, webhook, previews, health, metrics, pages, log, ...others } =
    doors
  const { addresses, crowd, origins, rates, admit, setHeaders, mostConnections, ...rest } = others
  const { patience: given, ...streams } = rest
  const { uploadTimeout, requestTimeout, ...patience } = { ...PATIENCE, ...given }

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    setHeaders(response)
    // What of a file nobody has asked for would be read to its end, for the next request behind it.
    if (isUpload(request) && !isShort(request)) response.setHeader('connection', 'close')
    const path = pathOf(request)
    if (!URL.canParse(`http://${request.headers.host ?? 'localhost'}`))
      return plain(response, 400, 'Host: no host name')
    if (path === GRAPHQL_PATH && origins.greet(request, response)) return
    const address = addresses.of(request)
    // Whoever looks whether it lives is told so, whatever comes from there; and how it fares, most of all then.
    const isOperator = path.startsWith('/health/') || (path === '/metrics' && metrics.mayRead(request))
    const slowed = isOperator ? null : await rates.ofAddress(address)
    // Behind that, for by then a short body has come with its head.
    hurry(request, response)
    if (slowed !== null) return answerRefused(response, slowedDown(slowed))
    if (path === GRAPHQL_PATH && graphiql.isWanted(request)) return graphiql.page(request, response)
    if (path === GRAPHQL_PATH) return answerGraphql(request, response, address)
    if (path === WEBHOOK_PATH) return webhook(request, response, tokenIn(request))
    if (request.method !== 'GET' && request.method !== 'HEAD')
      return plain(response, 405, `GET only; operations go to ${GRAPHQL_PATH}`)
    if (path.startsWith(GRAPHIQL_PARTS)) return graphiql.part(request, response, path)
    if (path.startsWith(UPLOAD_PATH)) return previews(request, response, path)
    if (path === '/health/live') return health.live(response)
    if (path === '/health/ready') return health.ready(response)
    if (path === '/metrics') return metrics.answer(request, response)
    if (await pages(request, response, path)) return
    plain(response, 404, `There is nothing here. The dashboard is at /, the API at ${GRAPHQL_PATH}.`)
  }

  async function answerGraphql(
    request: IncomingMessage,
    response: ServerResponse,
    address: string,
  ): Promise<void> {
    if (isForwarded(request) && !crowd.admit(address, response))
      return answerRefused(response, slowedDown(CROWDED_MS))
    const caller = await admit(request.headers.authorization, address)
    if ('status' in caller) return answerRefused(response, caller)
    const door: Door = { caller, address, isGone: () => response.destroyed }
    if (await plainPost(request, response, door)) return

    const stream = createEventStream(request, response, streams)
    door.sink = stream.sink
    const lastEventId = request.headers['last-event-id']
    if (typeof lastEventId === 'string' && lastEventId !== '') door.lastEventId = lastEventId
    const answer = await yoga.handleNodeRequestAndResponse(request, response, door)
    if (door.subscription) await stream.answer(Object.fromEntries(answer.headers), caller, door.subscription)
    else await sendNodeResponse(answer, response, request, true)
  }

  const isForwarded = ({ socket }: IncomingMessage) => addresses.isProxy(socket.remoteAddress ?? '')

  async function upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    if (pathOf(request) !== GRAPHQL_PATH) return refuseUpgrade(socket, '404 Not Found')
    if (!origins.mayOpen(request)) return refuseUpgrade(socket, '403 Forbidden')
    const address = addresses.of(request)
    const slowed = await rates.ofAddress(address)
    const isCrowded = slowed === null && isForwarded(request) && !crowd.admit(address, socket)
    if (slowed === null && !isCrowded) return webSockets.upgrade(request, socket, head, address)
    refuseUpgrade(socket, '429 Too Many Requests', { 'retry-after': retryAfter(slowed ?? CROWDED_MS) })
  }

  /** Node has one patience for the bodies of all. */
  function hurry(request: IncomingMessage, response: ServerResponse): void {
    if (request.complete || isUpload(request) || !hasBody(request)) return
    const late = setTimeout(() => {
      if (request.complete) return
      // As Node does: past the response, which waits for the body.
      if (!response.headersSent) request.socket.write(TOO_LATE)
      request.socket.destroy()
    }, requestTimeout)
    response.once('close', () => clearTimeout(late))
  }

  const server = createServer({ ...patience, requestTimeout: uploadTimeout }, (request, response) => {
    answer(request, response).catch(error => {
      log.error({ err: error }, 'unexpected error in an HTTP request')
      if (response.headersSent) response.destroy()
      else plain(response, 500, REQUEST_ERRORS.INTERNAL_SERVER_ERROR.message)
    })
  })

  server.on('upgrade', (request, socket, head) => {
    // Node hands the socket over without its own listener: a reset would end the process.
    socket.on('error', () => socket.destroy())
    upgrade(request, socket, head).catch(error => {
      log.error({ err: error }, 'unexpected error in a WebSocket upgrade')
      socket.destroy()
    })
  })

  server.maxConnections = mostConnections
  server.timeout = patience.idleTimeout
  server.on('connection', socket => {
    const { remoteAddress = '' } = socket
    if (!addresses.isProxy(remoteAddress) && !crowd.admit(remoteAddress, socket)) socket.destroy()
  })

  return server
}

const TOO_LATE = 'HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n'

/** When it may be less crowded. */
const CROWDED_MS = 1000

const pathOf = ({ url }: IncomingMessage): string => (url ?? '/').split('?')[0] ?? '/'

const isUpload = ({ method, headers }: IncomingMessage): boolean => isForm(method, headers['content-type'])

/** Node reads the rest of what was refused, so that whoever sends it still hears the answer. */
const SHORT_BYTES = 1024 * 1024
const isShort = ({ headers }: IncomingMessage): boolean => Number(headers['content-length']) <= SHORT_BYTES

const hasBody = ({ headers }: IncomingMessage): boolean =>
  'transfer-encoding' in headers || Number(headers['content-length'] ?? 0) > 0

/** Of a webhook's address. */
const tokenIn = ({ url }: IncomingMessage): string | null =>
  new URLSearchParams((url ?? '').split('?')[1]).get('p')

const plain = (response: ServerResponse, status: number, text: string): void =>
  void response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8' }).end(`${text}\n`)
