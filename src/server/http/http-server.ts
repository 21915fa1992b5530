/**
 * Who may come in at all, and which path is whose. A request that fails in a way nobody foresaw is logged once and answered with 500.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { REQUEST_ERRORS } from '../../domain/errors.ts'
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

/** Milliseconds. What has come in whole, an event stream too, may take as long as it will. */
export interface HttpTimeouts {
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

const DEFAULT_TIMEOUTS: HttpTimeouts = {
  headersTimeout: 10_000,
  requestTimeout: 30_000,
  uploadTimeout: 5 * 60_000,
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
    // What of a file nobody has asked for would be read to its end, for the next request behind it.
    if (isUpload(request) && !isShortBody(request)) response.setHeader('connection', 'close')
    const path = getPath(request)
    if (!URL.canParse(`http://${request.headers.host ?? 'localhost'}`))
      return sendText(response, 400, 'Host: no host name')
    if (path === GRAPHQL_PATH && corsPolicy.applyCors(request, response)) return
    const address = clientAddresses.resolve(request)
    // Whoever looks whether it lives is told so, whatever comes from there; and how it fares, most of all then.
    const isOperator = path.startsWith('/health/') || (path === '/metrics' && metrics.mayRead(request))
    const retryAfterMs = isOperator ? null : await rateLimits.consumeAddress(address)
    // Behind that, for by then a short body has come with its head.
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

  /** Node has one patience for the bodies of all. */
  function enforceBodyTimeout(request: IncomingMessage, response: ServerResponse): void {
    if (request.complete || isUpload(request) || !hasBody(request)) return
    const bodyTimer = setTimeout(() => {
      if (request.complete) return
      // As Node does: past the response, which waits for the body.
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
    // Node hands the socket over without its own listener: a reset would end the process.
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

/** Node reads the rest of what was refused, so that whoever sends it still hears the answer. */
const MAX_DRAINED_BYTES = 1024 * 1024
const isShortBody = ({ headers }: IncomingMessage): boolean =>
  Number(headers['content-length']) <= MAX_DRAINED_BYTES

const hasBody = ({ headers }: IncomingMessage): boolean =>
  'transfer-encoding' in headers || Number(headers['content-length'] ?? 0) > 0

/** Of a webhook's address. */
const getWebhookToken = ({ url }: IncomingMessage): string | null =>
  new URLSearchParams((url ?? '').split('?')[1]).get('p')

const sendText = (response: ServerResponse, status: number, text: string): void =>
  void response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8' }).end(`${text}\n`)
