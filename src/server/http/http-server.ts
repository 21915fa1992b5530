/**
 * HTTP server: timeouts, connection limits, rate limit by address, and routes.
 * Invariant: an unexpected error in a request is logged once, and answered with 500.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { REQUEST_ERRORS } from '../../domain/errors.ts'
import { MINUTE_MS } from '../../domain/time.ts'
import { UPLOAD_PATH } from '../../domain/upload.ts'
import type { ErrorLog } from '../../graphql/error-mask.ts'
import type { Metrics } from '../../observability/metrics.ts'
import { WEBHOOK_PATH } from '../../upstream/webhook-url.ts'
import { CONNECTION_RETRY_AFTER_MS, type ConnectionLimit } from '../limits/connections-per-address.ts'
import type { RateLimits } from '../limits/rate-limits.ts'
import { isMultipart } from '../operation/multipart-plugin.ts'
import { GRAPHQL_PATH } from '../operation/operation.ts'
import { rateLimitedResponse, retryAfterHeader, sendErrorResponse } from '../responses/error-response.ts'
import { rejectUpgrade } from '../responses/security-headers.ts'
import type { WebSockets } from '../transports/websocket-server.ts'
import type { UploadPreviews } from '../uploads/upload-preview.ts'
import type { DashboardAssets } from '../web/dashboard-assets.ts'
import { GRAPHIQL_ASSETS_PATH, type Graphiql } from '../web/graphiql.ts'
import type { ClientAddresses } from './client-address.ts'
import type { CorsPolicy } from './cors.ts'
import type { GraphqlEndpoint } from './graphql-endpoint.ts'
import type { Health } from './health.ts'
import type { WebhookEndpoint } from './webhook-endpoint.ts'

export interface HttpServerOptions {
  clientAddresses: ClientAddresses
  connectionLimit: ConnectionLimit
  corsPolicy: CorsPolicy
  rateLimits: Pick<RateLimits, 'consumeAddress'>
  setSecurityHeaders(response: ServerResponse): void
  maxConnections: number
  timeouts?: Partial<HttpTimeouts> | undefined
  graphqlEndpoint: GraphqlEndpoint
  graphiql: Graphiql
  webSockets: WebSockets
  webhookEndpoint: WebhookEndpoint
  uploadPreviews: UploadPreviews
  health: Health
  metrics: Metrics
  dashboardAssets: DashboardAssets
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
  const { clientAddresses, connectionLimit, corsPolicy, rateLimits, setSecurityHeaders, log } = options
  const { graphqlEndpoint, graphiql, webSockets, webhookEndpoint, uploadPreviews, dashboardAssets } = options
  const { health, metrics } = options
  const { uploadTimeout, requestTimeout, ...nodeTimeouts } = { ...DEFAULT_TIMEOUTS, ...options.timeouts }

  async function handleRequest(request: IncomingMessage, response: ServerResponse): Promise<void> {
    setSecurityHeaders(response)
    // If a large upload is rejected, its connection closes: Node would read it all to reach the next request.
    if (isUpload(request) && !isShortBody(request)) response.setHeader('connection', 'close')
    const path = getPath(request)
    if (!URL.canParse(`http://${request.headers.host ?? 'localhost'}`))
      return sendText(response, 400, 'Host: no host name')
    if (path === GRAPHQL_PATH && corsPolicy.applyCors(request, response)) return
    const address = clientAddresses.resolve(request)
    // Health checks and scrapes of metrics are not limited: they matter most under load.
    const isOperator = path.startsWith('/health/') || (path === '/metrics' && metrics.mayRead(request))
    const retryAfterMs = isOperator ? null : await rateLimits.consumeAddress(address)
    // Runs after the await: by then a short body has arrived with its headers, and needs no timer.
    enforceBodyTimeout(request, response)
    if (retryAfterMs !== null) return sendErrorResponse(response, rateLimitedResponse(retryAfterMs))
    if (path === GRAPHQL_PATH && graphiql.isPageRequest(request)) return graphiql.sendPage(request, response)
    if (path === GRAPHQL_PATH) return graphqlEndpoint(request, response, address)
    if (path === WEBHOOK_PATH) return webhookEndpoint(request, response, getWebhookToken(request))
    if (request.method !== 'GET' && request.method !== 'HEAD')
      return sendText(response, 405, `GET only; operations go to ${GRAPHQL_PATH}`)
    if (path.startsWith(GRAPHIQL_ASSETS_PATH)) return graphiql.sendAsset(request, response, path)
    if (path.startsWith(UPLOAD_PATH)) return uploadPreviews(request, response, path)
    if (path === '/health/live') return health.live(response)
    if (path === '/health/ready') return health.ready(response)
    if (path === '/metrics') return metrics.respond(request, response)
    if (await dashboardAssets(request, response, path)) return
    sendText(response, 404, `There is nothing here. The dashboard is at /, the API at ${GRAPHQL_PATH}.`)
  }

  async function handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    if (getPath(request) !== GRAPHQL_PATH) return rejectUpgrade(socket, '404 Not Found')
    if (!corsPolicy.isUpgradeAllowed(request)) return rejectUpgrade(socket, '403 Forbidden')
    const address = clientAddresses.resolve(request)
    const retryAfterMs = await rateLimits.consumeAddress(address)
    const isOverConnectionLimit =
      retryAfterMs === null && clientAddresses.isForwarded(request) && !connectionLimit.admit(address, socket)
    if (retryAfterMs === null && !isOverConnectionLimit)
      return webSockets.upgrade(request, socket, head, address)
    rejectUpgrade(socket, '429 Too Many Requests', {
      'retry-after': retryAfterHeader(retryAfterMs ?? CONNECTION_RETRY_AFTER_MS),
    })
  }

  /** Node has one timeout for all bodies, which is that of uploads. Other bodies are timed here. */
  function enforceBodyTimeout(request: IncomingMessage, response: ServerResponse): void {
    if (request.complete || isUpload(request) || !hasBody(request)) return
    const bodyTimer = setTimeout(() => {
      if (request.complete) return
      // Written past the response, which waits for the body. Node does the same.
      if (!response.headersSent) request.socket.write(REQUEST_TIMEOUT_RESPONSE)
      request.socket.destroy()
    }, requestTimeout)
    response.once('close', () => clearTimeout(bodyTimer))
  }

  const server = createServer({ ...nodeTimeouts, requestTimeout: uploadTimeout }, (request, response) => {
    handleRequest(request, response).catch(error => {
      log.error({ err: error }, 'unexpected error in an HTTP request')
      if (response.headersSent) response.destroy()
      else sendText(response, 500, REQUEST_ERRORS.INTERNAL_SERVER_ERROR.message)
    })
  })

  server.on('upgrade', (request, socket, head) => {
    // Node removes its own error listener from the socket: without this one a reset would end the process.
    socket.on('error', () => socket.destroy())
    handleUpgrade(request, socket, head).catch(error => {
      log.error({ err: error }, 'unexpected error in a WebSocket upgrade')
      socket.destroy()
    })
  })

  server.maxConnections = options.maxConnections
  server.timeout = nodeTimeouts.idleTimeout
  server.on('connection', socket => {
    const { remoteAddress = '' } = socket
    if (!clientAddresses.isTrustedProxy(remoteAddress) && !connectionLimit.admit(remoteAddress, socket))
      socket.destroy()
  })

  return server
}

const REQUEST_TIMEOUT_RESPONSE = 'HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n'

const getPath = ({ url }: IncomingMessage): string => (url ?? '/').split('?')[0] ?? '/'

const isUpload = ({ method, headers }: IncomingMessage): boolean =>
  isMultipart(method, headers['content-type'])

/** Max size of a rejected upload that is still read to its end, so that its client receives the response. */
const MAX_DRAINED_BYTES = 1024 * 1024
const isShortBody = ({ headers }: IncomingMessage): boolean =>
  Number(headers['content-length']) <= MAX_DRAINED_BYTES

const hasBody = ({ headers }: IncomingMessage): boolean =>
  'transfer-encoding' in headers || Number(headers['content-length'] ?? 0) > 0

/** Token in the query of a webhook's URL. */
const getWebhookToken = ({ url }: IncomingMessage): string | null =>
  new URLSearchParams((url ?? '').split('?')[1]).get('p')

const sendText = (response: ServerResponse, status: number, text: string): void =>
  void response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8' }).end(`${text}\n`)
