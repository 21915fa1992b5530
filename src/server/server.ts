/**
 * Builds the HTTP server from all its parts: limits, executor, transports, endpoints, pages. The server does
 * not listen yet.
 */
import type { Server } from 'node:http'
import { createAuthenticate } from '../auth/authenticate.ts'
import type { Config } from '../config/config.ts'
import type { Services } from '../graphql/context.ts'
import type { ErrorLog } from '../graphql/error-mask.ts'
import type { AppNames } from '../observability/app-names.ts'
import type { Metrics } from '../observability/metrics.ts'
import type { FanOut } from '../subscriptions/fan-out.ts'
import type { WebhookIntake } from '../workers/webhook-intake.ts'
import { createClientAddresses } from './http/client-address.ts'
import { createCorsPolicy } from './http/cors.ts'
import { createGraphqlEndpoint } from './http/graphql-endpoint.ts'
import { createHealth, type Health } from './http/health.ts'
import { createHttpServer, type HttpTimeouts } from './http/http-server.ts'
import { createJsonFastPath } from './http/json-fast-path.ts'
import { createRoutes } from './http/routes.ts'
import { createUploadEndpoint } from './http/upload-endpoint.ts'
import { createWebhookEndpoint } from './http/webhook-endpoint.ts'
import { createYogaHttp } from './http/yoga-http.ts'
import { createConnectionLimit } from './limits/connections-per-address.ts'
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
  server: Server
  webSockets: WebSockets
  connectionRegistry: ConnectionRegistry
  health: Health
  /** Ends the timers of the parts, and what they keep in memory. Runs after the server is closed. */
  closeParts(): Promise<void>
}

export interface ServerOptions {
  config: Config
  services: Services
  fanOut: FanOut
  appNames: AppNames
  metrics: Metrics
  webhookIntake: Pick<WebhookIntake, 'receive'>
  /** Whether the poll circuit is closed. */
  isPollCircuitClosed: () => boolean
  /** URL of the simulator's sample image; null with a real account. */
  sampleImage: string | null
  keepAliveMs?: number | undefined
  initTimeoutMs?: number | undefined
  timeouts?: Partial<HttpTimeouts> | undefined
  log: ErrorLog & { debug(fields: object, message: string): void }
}

export function createServer(options: ServerOptions): ServerParts {
  const { config, services, fanOut, appNames, metrics, log } = options
  const { store, tokens, now, countRejection } = services

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
  const keepAlive = createKeepAlive(options.keepAliveMs)
  const webSockets = createWebSockets({
    prepare: executor.prepare,
    admissions,
    connectionRegistry,
    keepAlive,
    limits: {
      maxMessageBytes: config.maxMessageBytes,
      maxSubscriptionsPerConnection: config.maxSubscriptionsPerConnection,
      maxOperationsPerSecond: config.maxOperationsPerSecond,
      initTimeoutMs: options.initTimeoutMs,
    },
    countRejection,
    log,
  })

  const health = createHealth(store, options.isPollCircuitClosed)
  const graphiql = createGraphiql({
    allowIntrospection: config.allowIntrospection,
    sampleImage: options.sampleImage,
  })
  const clientAddresses = createClientAddresses(config.trustedProxies)
  const connectionLimit = createConnectionLimit(config.maxConnectionsPerAddress)
  const yogaHttp = createYogaHttp(executor.yoga, createEventStreams(connectionRegistry, keepAlive))
  const chooseRoute = createRoutes({
    graphqlEndpoint: createGraphqlEndpoint({
      clientAddresses,
      connectionLimit,
      admissions,
      executor,
      jsonFastPath: createJsonFastPath(config.maxMessageBytes),
      yogaHttp,
      uploadEndpoint: createUploadEndpoint({
        prepare: executor.prepare,
        rateLimits,
        countRejection,
        Request: executor.yoga.fetchAPI.Request,
        yogaHttp,
      }),
    }),
    graphiql,
    webhookEndpoint: createWebhookEndpoint({
      webhookIntake: options.webhookIntake,
      webhookSecrets: config.webhookSecrets,
      now,
      log,
    }),
    uploadPreviews: createUploadPreviews(store, now),
    health,
    metrics,
    dashboardAssets: createDashboardAssets(),
  })
  const server = createHttpServer({
    chooseRoute,
    webSockets,
    clientAddresses,
    connectionLimit,
    corsPolicy: createCorsPolicy(config.allowedOrigins, config.publicUrl),
    rateLimits,
    setSecurityHeaders: createSecurityHeaders(config.publicUrl),
    maxConnections: config.maxConnections,
    timeouts: options.timeouts,
    log,
  })

  return {
    server,
    webSockets,
    connectionRegistry,
    health,
    async closeParts() {
      await graphiql.close()
      keepAlive.close()
      connectionRegistry.close()
    },
  }
}
