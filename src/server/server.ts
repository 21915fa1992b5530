/**
 * Builds the HTTP server from all its parts: fan-out, limits, executor, transports, endpoints, pages. The server
 * does not listen yet.
 */
import type { Server } from 'node:http'
import { createTokens } from '../auth/access-token.ts'
import { createAuthenticate } from '../auth/authenticate.ts'
import type { Config } from '../config/config.ts'
import type { Events } from '../events/events.ts'
import type { Services } from '../graphql/context.ts'
import type { Observability } from '../observability/observability.ts'
import { createFairScheduler, type FairScheduler } from '../runtime/fair-scheduler.ts'
import type { Store } from '../store/store.ts'
import { createFanOut, type FanOut } from '../subscriptions/fan-out.ts'
import type { Workers } from '../workers/workers.ts'
import { createClientNetworks } from './http/client-network.ts'
import { createCorsPolicy } from './http/cors.ts'
import { createGraphqlEndpoint, type GraphqlEndpoint } from './http/graphql-endpoint.ts'
import { createHealth, type Health } from './http/health.ts'
import { createHttpServer, type HttpTimeouts } from './http/http-server.ts'
import { createRoutes } from './http/routes.ts'
import { createUploadEndpoint } from './http/upload-endpoint.ts'
import { createWebhookEndpoint } from './http/webhook-endpoint.ts'
import { createYogaHttp } from './http/yoga-http.ts'
import { createBodyShares } from './limits/body-shares.ts'
import { type ConnectionLimit, createConnectionLimit } from './limits/connections-per-network.ts'
import { capConnections, readDescriptorLimit } from './limits/descriptor-limit.ts'
import { createRateLimits } from './limits/rate-limits.ts'
import { createUnsentAnswers } from './limits/unsent-answers.ts'
import { createAdmissions } from './operation/admission.ts'
import { createExecutor } from './operation/executor.ts'
import { createSecurityHeaders } from './responses/security-headers.ts'
import { type ConnectionRegistry, createConnectionRegistry } from './transports/connection-registry.ts'
import { createEventStreams } from './transports/event-stream.ts'
import { createKeepAlive } from './transports/keep-alive.ts'
import { createWebSockets, type WebSockets } from './transports/websocket-server.ts'
import { createUploadPreviews } from './uploads/upload-preview.ts'
import { createDashboardAssets } from './web/dashboard-assets.ts'
import { createGraphiql } from './web/graphiql.ts'

/** The parts that a shutdown needs one by one. */
export interface ServerParts {
  httpServer: Server
  webSockets: WebSockets
  connectionRegistry: ConnectionRegistry
  health: Health
  /** Ends the timers of the parts, and what they keep in memory. Runs after `httpServer` is closed. */
  close(): Promise<void>
}

/** Overrides for tests and benchmarks. */
export interface ServerOverrides {
  cursorRefreshMs?: number
  keepAliveMs?: number
  httpTimeouts?: Partial<HttpTimeouts>
  /** Time for a WebSocket to send `connection_init`. */
  initTimeoutMs?: number
}

export interface ServerOptions {
  config: Config
  store: Store
  events: Events
  observability: Observability
  workers: Pick<Workers, 'webhookIntake' | 'areReadsOn'>
  /** URL of the simulator's sample image; null with a real account. */
  sampleImage: string | null
  /** The absolute URL of a path of this gateway. Called only for clients, so after the server listens. */
  toPublicUrl(path: string): string
  now: () => number
  overrides: ServerOverrides
}

export function createServer(options: ServerOptions): ServerParts {
  const { config, overrides, observability } = options
  const scheduler = createFairScheduler()
  const services = createServices(options, scheduler)
  const descriptorLimit = readDescriptorLimit()
  const maxConnections = capConnections(config.maxConnections, descriptorLimit, config.upstreamConcurrency)
  const { cursorRefreshMs } = overrides
  const fanOut = createFanOut({
    eventLog: options.events.eventLog,
    scheduler,
    log: observability.log,
    limits: {
      maxConnectionsPerApp: config.maxConnectionsPerApp,
      maxConnections,
    },
    ...(cursorRefreshMs && { cursorRefreshMs }),
  })
  observability.metrics.trackSubscriptions(fanOut.subscriptionsByApp)
  const operations = createOperations(options, services, fanOut)
  const transports = createTransports(options, services, operations)
  const pages = createPages(options, maxConnections)
  const connectionLimit = createConnectionLimit(config.maxConnectionsPerAddress)
  const httpServer = createHttpServer({
    routes: createRoutes({
      graphqlEndpoint: createApi(options, services, operations, transports, connectionLimit),
      ...pages,
    }),
    webSockets: transports.webSockets,
    clientNetworks: createClientNetworks(config.trustedProxies),
    connectionLimit,
    corsPolicy: createCorsPolicy(config.allowedOrigins, config.publicUrl),
    rateLimits: operations.rateLimits,
    securityHeaders: createSecurityHeaders(config.publicUrl),
    maxConnections,
    timeouts: overrides.httpTimeouts,
    log: observability.log,
  })
  observability.metrics.trackConnections(maxConnections, httpServer)
  if (maxConnections < config.maxConnections) {
    // The default is above the limit of many machines, and few gateways need half of it.
    const level = maxConnections < config.maxConnections / 2 ? 'warn' : 'info'
    httpServer.once('listening', () =>
      observability.log[level](
        { maxConnections, configured: config.maxConnections, descriptorLimit },
        'MAX_CONNECTIONS is lowered: the process may not open more files (ulimit -n)',
      ),
    )
  }

  const unsentAnswers = createUnsentAnswers(observability.log)
  httpServer.on('connection', unsentAnswers.add)

  return {
    httpServer,
    webSockets: transports.webSockets,
    connectionRegistry: transports.connectionRegistry,
    health: pages.health,
    async close() {
      unsentAnswers.close()
      await pages.graphiql.close()
      transports.keepAlive.close()
      transports.connectionRegistry.close()
      fanOut.close()
    },
  }
}

/** The services of resolvers, some of which admission and transports use, too. */
function createServices(options: ServerOptions, { nextSlice }: FairScheduler): Services {
  const { config, store, events, observability, toPublicUrl, now } = options
  const { log, metrics } = observability
  return {
    store,
    sources: events.sources,
    cursorsOf: events.cursorsOf,
    tokens: createTokens(store.tokenKey, now),
    now,
    maxUploadBytesPerApp: config.maxUploadBytesPerApp,
    toPublicUrl,
    logNotice: log.info.bind(log),
    countRejection: metrics.countRejection,
    nextSlice,
  }
}

/** The parts that admit, prepare and run the operations of every transport. */
function createOperations(
  { config, store, observability, now }: ServerOptions,
  services: Services,
  fanOut: FanOut,
) {
  const { appNames, metrics, log } = observability
  const rateLimits = createRateLimits({
    maxRequestsPerMinutePerAddress: config.maxRequestsPerMinutePerAddress,
    maxRequestsPerMinutePerKey: config.maxRequestsPerMinutePerKey,
    maxUploadsPerMinutePerApp: config.maxUploadsPerMinutePerApp,
    maxWrongKeysPerMinute: config.maxWrongKeysPerMinute,
    onInvalidCredential: metrics.countInvalidCredential,
  })
  const { invalidCredentials } = rateLimits
  const { tokens } = services
  const authenticate = createAuthenticate({ store, tokens, appNames, invalidCredentials, now })
  const executor = createExecutor({
    services,
    fanOut,
    authenticate,
    maxMessageBytes: config.maxMessageBytes,
    limits: { maxQueryCost: config.maxQueryCost, maxQueryDepth: config.maxQueryDepth },
    allowIntrospection: config.allowIntrospection,
    log,
  })
  const admissions = createAdmissions(authenticate, rateLimits, services)
  return { rateLimits, authenticate, admissions, executor }
}

type Operations = ReturnType<typeof createOperations>

/** The open connections, and what writes to them. */
function createTransports(
  { config, observability, overrides }: ServerOptions,
  { countRejection, nextSlice }: Services,
  { authenticate, admissions, executor }: Operations,
) {
  const { log } = observability
  const { maxConnectionsPerApp } = config
  const connectionRegistry = createConnectionRegistry({
    authenticate,
    log,
    maxConnectionsPerApp,
    countRejection,
  })
  const keepAlive = createKeepAlive(connectionRegistry.connections, overrides.keepAliveMs)
  const webSockets = createWebSockets({
    prepare: executor.prepare,
    admissions,
    connectionRegistry,
    limits: {
      maxMessageBytes: config.maxMessageBytes,
      maxSubscriptionsPerConnection: config.maxSubscriptionsPerConnection,
      maxOperationsPerSecond: config.maxOperationsPerSecond,
      initTimeoutMs: overrides.initTimeoutMs,
    },
    countRejection,
    nextSlice,
    log,
  })
  const eventStreams = createEventStreams(connectionRegistry)
  return { connectionRegistry, keepAlive, webSockets, eventStreams }
}

/** The HTTP endpoint of the API. */
function createApi(
  { config }: ServerOptions,
  { countRejection, nextSlice }: Services,
  { rateLimits, admissions, executor }: Operations,
  { eventStreams }: ReturnType<typeof createTransports>,
  connectionLimit: ConnectionLimit,
): GraphqlEndpoint {
  const { prepare, yoga } = executor
  const { maxMessageBytes } = config
  const bodyShares = createBodyShares({ ...BODY_SHARES, maxBodyBytes: maxMessageBytes })
  const yogaHttp = createYogaHttp(yoga, eventStreams)
  const uploadEndpoint = createUploadEndpoint({ prepare, rateLimits, countRejection, bodyShares, yogaHttp })
  return createGraphqlEndpoint({
    connectionLimit,
    maxConnectionsPerApp: config.maxConnectionsPerApp,
    countRejection,
    admissions,
    nextSlice,
    executor,
    bodyShares,
    maxMessageBytes,
    yogaHttp,
    uploadEndpoint,
  })
}

/** Max bodies of the max length in memory: 32 MB in all, 8 MB of an app and 4 MB of a token, by default. */
const BODY_SHARES = { total: 32, reserved: 16, perOwner: 8, perMember: 4 }

/** The handlers of the other paths. */
function createPages(
  { config, store, observability, workers, sampleImage, now }: ServerOptions,
  maxConnections: number,
) {
  const { webhookSecrets, allowIntrospection } = config
  const { webhookIntake, areReadsOn } = workers
  return {
    graphiql: createGraphiql({ allowIntrospection, sampleImage }),
    webhookEndpoint: createWebhookEndpoint({ webhookIntake, webhookSecrets, now, log: observability.log }),
    uploadPreviews: createUploadPreviews(store, now),
    health: createHealth(store, areReadsOn, maxConnections),
    metrics: observability.metrics,
    dashboardAssets: createDashboardAssets(),
  }
}
