/**
 * HTTP server: timeouts, connection limits, rate limit by network, and routes.
 * Invariant: an unexpected error in a request is logged once, and answered with 500.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { GraphQLError } from 'graphql'
import { REQUEST_ERRORS } from '../../domain/errors.ts'
import { MINUTE_MS } from '../../domain/time.ts'
import type { ErrorLog } from '../../graphql/error-mask.ts'
import { badArgument } from '../../graphql/request-errors.ts'
import { CONNECTION_RETRY_AFTER_MS, type ConnectionLimit } from '../limits/connections-per-network.ts'
import type { RateLimits } from '../limits/rate-limits.ts'
import { GRAPHQL_PATH } from '../operation/operation.ts'
import {
  closeWithError,
  rateLimitedResponse,
  retryAfterHeader,
  sendErrorResponse,
} from '../responses/error-response.ts'
import { rejectUpgrade } from '../responses/security-headers.ts'
import type { WebSockets } from '../transports/websocket-server.ts'
import type { ClientNetworks } from './client-network.ts'
import type { CorsPolicy } from './cors.ts'
import { HttpRequest } from './http-request.ts'
import { parseContentType } from './request-content.ts'
import { type Route, sendText } from './routes.ts'

export interface HttpServerOptions {
  routes: readonly Route[]
  webSockets: WebSockets
  clientNetworks: ClientNetworks
  connectionLimit: ConnectionLimit
  corsPolicy: CorsPolicy
  rateLimits: Pick<RateLimits, 'consumeNetwork'>
  /** Set on every response. */
  securityHeaders: Map<string, string>
  maxConnections: number
  timeouts?: Partial<HttpTimeouts> | undefined
  log: ErrorLog
}

/**
 * Milliseconds. A request that has been received completely may take any time, and so may an event stream.
 */
export interface HttpTimeouts {
  /** Time from the start of a connection, or of its next request, to the end of the headers. */
  headersTimeout: number
  /** Time to the end of the body, except of a multipart request. */
  requestTimeout: number
  /** Time to the end of a multipart body: 25 MB over a slow connection. */
  uploadTimeout: number
  /** Longer than load balancers keep an idle connection, which is mostly a minute. */
  keepAliveTimeout: number
  connectionsCheckingInterval: number
  /** Time without a byte received or a sent byte acknowledged. */
  idleTimeout: number
}

const DEFAULT_TIMEOUTS: HttpTimeouts = {
  headersTimeout: 10_000,
  requestTimeout: 30_000,
  uploadTimeout: 5 * MINUTE_MS,
  keepAliveTimeout: 65_000,
  connectionsCheckingInterval: 2000,
  idleTimeout: 120_000,
}

export function createHttpServer(options: HttpServerOptions): Server {
  const { routes, webSockets, clientNetworks, connectionLimit, corsPolicy, rateLimits } = options
  const { securityHeaders, log } = options
  const { uploadTimeout, requestTimeout, ...nodeTimeouts } = { ...DEFAULT_TIMEOUTS, ...options.timeouts }

  async function handleRequest(request: HttpRequest, response: ServerResponse): Promise<void> {
    request.receiveBody(response)
    response.setHeaders(securityHeaders)
    useOriginForm(request)
    const path = getPath(request)
    const route = routes.find(each => matchesRoute(each, request, path))!
    if (!URL.canParse(`http://${request.headers.host ?? 'localhost'}`))
      return sendText(response, 400, 'Host: no host name')
    if (route.hasCors && corsPolicy.isEnabled && corsPolicy.applyCors(request, response)) return
    const client = clientNetworks.resolve(request)
    const retryAfterMs = route.bypassesRateLimit?.(request)
      ? null
      : await rateLimits.consumeNetwork(client.network)
    // Runs after the await: by then a short body has arrived with its headers, and needs no timer.
    enforceBodyTimeout(request, response, route)
    if (retryAfterMs !== null) return sendErrorResponse(response, rateLimitedResponse(retryAfterMs))
    if (route.allowedMethods?.includes(request.method!) === false)
      return sendText(response, 405, `GET only; operations go to ${GRAPHQL_PATH}`)
    await route.answer(request, response, client, path)
  }

  async function handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    useOriginForm(request)
    if (getPath(request) !== GRAPHQL_PATH) return rejectUpgrade(socket, '404 Not Found')
    // Clients that are not browsers send no Origin.
    if (request.headers.origin !== undefined && !corsPolicy.isUpgradeAllowed(request))
      return rejectUpgrade(socket, '403 Forbidden')
    const { network, isForwarded } = clientNetworks.resolve(request)
    const retryAfterMs = await rateLimits.consumeNetwork(network)
    const isOverConnectionLimit =
      retryAfterMs === null && isForwarded && !connectionLimit.admit(network, socket)
    if (retryAfterMs === null && !isOverConnectionLimit)
      return webSockets.upgrade(request, socket, head, network)
    rejectUpgrade(socket, '429 Too Many Requests', {
      'retry-after': retryAfterHeader(retryAfterMs ?? CONNECTION_RETRY_AFTER_MS),
    })
  }

  /** Node has one timeout for all bodies, which is that of uploads. Other bodies are timed here. */
  function enforceBodyTimeout(request: HttpRequest, response: ServerResponse, { isForm }: Route): void {
    if (request.complete || isForm || !request.hasBody) return
    const bodyTimer = setTimeout(() => {
      if (request.complete) return
      // Written past the response, which waits for the body. Node does the same.
      if (response.headersSent) request.socket.destroy()
      else closeWithError(request.socket, 408, requestTimeoutError(requestTimeout))
    }, requestTimeout)
    response.once('close', () => clearTimeout(bodyTimer))
  }

  const pipelines = createPipelines()
  const serverOptions = {
    ...nodeTimeouts,
    requestTimeout: uploadTimeout,
    IncomingMessage: HttpRequest,
    // A client may ask for another protocol, such as h2c, and goes on in HTTP/1.1 if the server ignores that.
    shouldUpgradeCallback: isWebSocketUpgrade,
  }
  const server = createServer<typeof HttpRequest, typeof ServerResponse>(serverOptions)

  function answer(request: HttpRequest, response: ServerResponse<HttpRequest>): void {
    pipelines.start(request.socket, response, () => {
      // A request behind one whose connection closes after its response.
      if (request.socket.writableEnded) return
      handleRequest(request, response).catch(error => {
        log.error({ err: error }, 'unexpected error in an HTTP request')
        if (response.headersSent) response.destroy()
        else sendText(response, 500, REQUEST_ERRORS.INTERNAL_SERVER_ERROR.message)
      })
    })
  }
  server.on('request', answer)
  // `readBody` sends `100 Continue`, so a rejected body is not sent at all.
  server.on('checkContinue', answer)

  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    // A response that has begun would be mixed with this one. Node looks at the same property.
    const { _httpMessage: current } = socket as Duplex & { _httpMessage?: ServerResponse | null }
    if (!socket.writable || current?.headersSent === true || error.code === 'ECONNRESET') {
      socket.destroy(error)
      return
    }
    const [status, graphqlError] = toProtocolError(error.code, nodeTimeouts.headersTimeout)
    closeWithError(socket, status, graphqlError)
  })

  server.on('upgrade', (request, socket, head) => {
    // Node removes its own error listener from the socket: without this one a reset would end the process.
    socket.on('error', () => socket.destroy())
    // Its handshake would overtake the responses before it.
    if (pipelines.isBusy(socket)) return void socket.destroy()
    handleUpgrade(request, socket, head).catch(error => {
      log.error({ err: error }, 'unexpected error in a WebSocket upgrade')
      socket.destroy()
    })
  })

  server.maxConnections = options.maxConnections
  server.timeout = nodeTimeouts.idleTimeout
  server.on('connection', socket => {
    const network = clientNetworks.ofSocket(socket)
    if (network !== null && !connectionLimit.admit(network, socket)) socket.destroy()
  })

  return server
}

/** Max bytes of all headers, which is Node's default. */
const MAX_HEADER_BYTES = 16 * 1024

/** Status and error of a request that Node's parser rejects. */
const toProtocolError = (code: string | undefined, timeoutMs: number): [number, GraphQLError] =>
  code === 'HPE_HEADER_OVERFLOW'
    ? [431, badArgument('headers', `at most ${MAX_HEADER_BYTES} bytes`)]
    : code === 'ERR_HTTP_REQUEST_TIMEOUT'
      ? [408, requestTimeoutError(timeoutMs)]
      : code === 'HPE_CHUNK_EXTENSIONS_OVERFLOW'
        ? [413, badArgument('body', `chunk extensions of at most ${MAX_HEADER_BYTES} bytes`)]
        : [400, badArgument('request', 'HTTP/1.1')]

const requestTimeoutError = (timeoutMs: number): GraphQLError =>
  badArgument('request', `to end within ${timeoutMs / 1000} seconds`)

const isWebSocketUpgrade = ({ headers, method }: IncomingMessage): boolean =>
  method === 'GET' && /(?:^|,)\s*websocket\s*(?:,|$)/i.test(headers.upgrade ?? '')

/** Clients of a proxy send the whole URL as the target (RFC 9112, 3.2.2). Its host takes precedence. */
function useOriginForm(request: IncomingMessage): void {
  const [, host, rest] = /^https?:\/\/(?:[^/?#@]*@)?([^/?#]+)([^#]*)/i.exec(request.url ?? '') ?? []
  if (host === undefined || rest === undefined) return
  request.headers.host = host
  request.url = rest.startsWith('/') ? rest : `/${rest}`
}

/** Whether the request is one of those that the route is for. */
export const matchesRoute = (route: Route, request: IncomingMessage, path: string): boolean =>
  (route.path.endsWith('*') ? path.startsWith(route.path.slice(0, -1)) : path === route.path) &&
  (route.method === undefined || route.method === request.method) &&
  (route.mediaType === undefined || route.mediaType === parseContentType(request.headers).mediaType) &&
  (route.isFor === undefined || route.isFor(request))

const getPath = ({ url }: IncomingMessage): string => (url ?? '/').split('?')[0] ?? '/'

/**
 * Max requests of a connection that wait for the response before theirs. The next one is not read, and the connection closes
 * after the responses of these.
 */
const MAX_PIPELINED_PER_CONNECTION = 32
/** Max of all connections; each takes 5 to 50 KB, for its headers. Above it: the connection of the next one closes at once. */
const MAX_PIPELINED_IN_TOTAL = 1000

/**
 * Starts the requests of a connection one after the other. Node would start all that a client pipelines: 100,000 on one
 * connection took 1 GB.
 */
function createPipelines() {
  const pipelines = new WeakMap<Duplex, Pipeline>()
  let total = 0

  function add(socket: Socket, pipeline: Pipeline): void {
    if (!pipeline.hasWaited) socket.once('close', () => drop(pipeline))
    pipeline.hasWaited = true
    pipeline.size++
    if (++total > MAX_PIPELINED_IN_TOTAL) socket.destroy()
  }

  function drop(pipeline: Pipeline): void {
    total -= pipeline.size
    pipeline.size = 0
    pipeline.waiting = []
  }

  function run(socket: Socket, pipeline: Pipeline, response: ServerResponse, start: () => void): void {
    response.once('close', () => {
      if (socket.destroyed) drop(pipeline)
      const startNext = pipeline.waiting.shift()
      pipeline.isBusy = startNext !== undefined
      if (startNext === undefined) return
      pipeline.size--
      total--
      startNext()
    })
    start()
  }

  return {
    isBusy: (socket: Duplex) => pipelines.get(socket)?.isBusy === true,

    start(socket: Socket, response: ServerResponse, start: () => void): void {
      const pipeline = pipelines.get(socket) ?? createPipeline()
      pipelines.set(socket, pipeline)
      if (!pipeline.isBusy) {
        pipeline.isBusy = true
        run(socket, pipeline, response, start)
        return
      }
      add(socket, pipeline)
      pipeline.isFull ||= pipeline.waiting.length >= MAX_PIPELINED_PER_CONNECTION
      // Requests that were read already still arrive.
      if (pipeline.isFull) socket.pause()
      else
        pipeline.waiting.push(() => {
          if (pipeline.isFull && pipeline.waiting.length === 0) response.setHeader('connection', 'close')
          run(socket, pipeline, response, start)
        })
    },
  }
}

const createPipeline = (): Pipeline => ({
  isBusy: false,
  isFull: false,
  hasWaited: false,
  waiting: [],
  size: 0,
})

/** The requests of a connection that have no response yet. */
interface Pipeline {
  /** A request has been started. */
  isBusy: boolean
  isFull: boolean
  hasWaited: boolean
  /** Starts the others. */
  waiting: (() => void)[]
  /** Requests that were added and count towards the total. */
  size: number
}
