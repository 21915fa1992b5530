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
import { createFanOut } from '../subscriptions/fan-out.ts'
import type { Workers } from '../workers/workers.ts'
import { createClientNetworks } from './http/client-network.ts'
import { createCorsPolicy } from './http/cors.ts'
import { createGraphqlEndpoint } from './http/graphql-endpoint.ts'
import { createHealth, type Health } from './http/health.ts'
import { createHttpServer, type HttpTimeouts } from './http/http-server.ts'
import { createJsonFastPath } from './http/json-fast-path.ts'
import { createRoutes } from './http/routes.ts'
import { createUploadEndpoint } from './http/upload-endpoint.ts'
import { createWebhookEndpoint } from './http/webhook-endpoint.ts'
import { createYogaHttp } from './http/yoga-http.ts'
import { createConnectionLimit } from './limits/connections-per-network.ts'
import { createRateLimits } from './limits/rate-limits.ts'
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
  workers: Pick<Workers, 'webhookIntake' | 'isPollCircuitClosed'>
  /** URL of the simulator's sample image; null with a real account. */
  sampleImage: string | null
  /** The URL at which the server listens. Called only for clients, so after the server listens. */
  listeningUrl: () => string
  now: () => number
  overrides: ServerOverrides
}

export function createServer(options: ServerOptions): ServerParts {
  const { config, store, events, workers, now, overrides } = options
  const { appNames, metrics, log } = options.observability
  const scheduler = createFairScheduler()
  const services = createServices(options, scheduler)
  const { tokens, countRejection } = services
  const { cursorRefreshMs } = overrides
  const fanOut = createFanOut({
    eventLog: events.eventLog,
    scheduler,
    log,
    ...(cursorRefreshMs && { cursorRefreshMs }),
  })
  metrics.trackSubscriptions(fanOut.subscriptionsByApp)

  const rateLimits = createRateLimits({
    maxRequestsPerMinutePerAddress: config.maxRequestsPerMinutePerAddress,
    maxRequestsPerMinutePerKey: config.maxRequestsPerMinutePerKey,
    maxUploadsPerMinutePerApp: config.maxUploadsPerMinutePerApp,
    maxWrongKeysPerMinute: config.maxWrongKeysPerMinute,
    onInvalidCredential: metrics.countInvalidCredential,
  })
  const { invalidCredentials } = rateLimits
  const authenticate = createAuthenticate({ store, tokens, appNames, invalidCredentials, now })
  const admissions = createAdmissions(authenticate, rateLimits, services)
  const executor = createExecutor({
    services,
    fanOut,
    authenticate,
    maxMessageBytes: config.maxMessageBytes,
    limits: { maxQueryCost: config.maxQueryCost, maxQueryDepth: config.maxQueryDepth },
    allowIntrospection: config.allowIntrospection,
    log,
  })

  const connectionRegistry = createConnectionRegistry({
    authenticate,
    log,
    maxConnectionsPerApp: config.maxConnectionsPerApp,
    countRejection,
  })
  const keepAlive = createKeepAlive(overrides.keepAliveMs)
  const webSockets = createWebSockets({
    prepare: executor.prepare,
    admissions,
    connectionRegistry,
    keepAlive,
    limits: {
      maxMessageBytes: config.maxMessageBytes,
      maxSubscriptionsPerConnection: config.maxSubscriptionsPerConnection,
      maxOperationsPerSecond: config.maxOperationsPerSecond,
      initTimeoutMs: overrides.initTimeoutMs,
    },
    countRejection,
    log,
  })

  const health = createHealth(store, workers.isPollCircuitClosed)
  const graphiql = createGraphiql({
    allowIntrospection: config.allowIntrospection,
    sampleImage: options.sampleImage,
  })
  const connectionLimit = createConnectionLimit(config.maxConnectionsPerAddress)
  const jsonFastPath = createJsonFastPath(config.maxMessageBytes)
  const yogaHttp = createYogaHttp(executor.yoga, createEventStreams(connectionRegistry, keepAlive))
  const chooseRoute = createRoutes({
    graphqlEndpoint: createGraphqlEndpoint({
      connectionLimit,
      admissions,
      executor,
      jsonFastPath,
      yogaHttp,
      uploadEndpoint: createUploadEndpoint({
        prepare: executor.prepare,
        rateLimits,
        countRejection,
        Request: executor.yoga.fetchAPI.Request,
        jsonFastPath,
        yogaHttp,
      }),
    }),
    graphiql,
    webhookEndpoint: createWebhookEndpoint({
      webhookIntake: workers.webhookIntake,
      webhookSecrets: config.webhookSecrets,
      now,
      log,
    }),
    uploadPreviews: createUploadPreviews(store, now),
    health,
    metrics,
    dashboardAssets: createDashboardAssets(),
  })
  const httpServer = createHttpServer({
    chooseRoute,
    webSockets,
    clientNetworks: createClientNetworks(config.trustedProxies),
    connectionLimit,
    corsPolicy: createCorsPolicy(config.allowedOrigins, config.publicUrl),
    rateLimits,
    securityHeaders: createSecurityHeaders(config.publicUrl),
    maxConnections: config.maxConnections,
    timeouts: overrides.httpTimeouts,
    log,
  })

  return {
    httpServer,
    webSockets,
    connectionRegistry,
    health,
    async close() {
      await graphiql.close()
      keepAlive.close()
      connectionRegistry.close()
      fanOut.close()
    },
  }
}

/** What the resolvers get. */
function createServices(options: ServerOptions, scheduler: FairScheduler): Services {
  const { config, store, events, observability, listeningUrl, now } = options
  const { log, metrics } = observability
  return {
    store,
    sources: events.sources,
    cursorsOf: events.cursorsOf,
    tokens: createTokens(store.tokenKey, now),
    now,
    maxUploadBytesPerApp: config.maxUploadBytesPerApp,
    toPublicUrl: path => `${config.publicUrl ?? listeningUrl()}${path}`,
    logNotice: log.info.bind(log),
    countRejection: metrics.countRejection,
    nextSlice: scheduler.nextSlice,
  }
}
