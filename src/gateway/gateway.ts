/**
 * The one place that knows every part: builds them in order, and ends them in the opposite one.
 */
import type { Server } from 'node:http'
import { dirname, join } from 'node:path'
import { createTokens } from '../auth/access-token.ts'
import { createKey } from '../auth/api-key.ts'
import { createAuthenticate } from '../auth/authenticate.ts'
import type { Config } from '../config/config.ts'
import { StartError } from '../domain/errors.ts'
import { MODELS, type VideoModel } from '../domain/models.ts'
import { createCursors } from '../events/cursor.ts'
import { createFeed } from '../events/event-log.ts'
import { createSources } from '../events/subscription-source.ts'
import { createReach, type Reach } from '../image-fetch/image-fetch.ts'
import { createNames, withNames } from '../observability/app-names.ts'
import { createMetrics } from '../observability/metrics.ts'
import { createTurns } from '../runtime/fair-scheduler.ts'
import { createBell } from '../runtime/wake-signal.ts'
import { createAddresses } from '../server/http/client-address.ts'
import { createOrigins } from '../server/http/cors.ts'
import { createHealth } from '../server/http/health.ts'
import { createHttp, type Patience } from '../server/http/http-server.ts'
import { createPlainPost } from '../server/http/json-fast-path.ts'
import { listen } from '../server/http/listen.ts'
import { createWebhook } from '../server/http/webhook-endpoint.ts'
import { createCrowd } from '../server/limits/connections-per-address.ts'
import { createRates } from '../server/limits/rate-limits.ts'
import { createAdmit } from '../server/operation/admission.ts'
import { createExecutor } from '../server/operation/executor.ts'
import { GRAPHQL_PATH } from '../server/operation/operation.ts'
import { createHeaders } from '../server/responses/security-headers.ts'
import { createConnections } from '../server/transports/connection-registry.ts'
import { createHeartbeat } from '../server/transports/keep-alive.ts'
import { createWebSockets } from '../server/transports/websocket-server.ts'
import { createPreviews } from '../server/uploads/upload-preview.ts'
import { createPages } from '../server/web/dashboard-assets.ts'
import { createGraphiql } from '../server/web/graphiql.ts'
import type { Simulator, SimulatorOptions } from '../simulator/simulator.ts'
import { openSqlite } from '../store/sqlite/sqlite-store.ts'
import type { Store } from '../store/store.ts'
import { createBroadcast } from '../subscriptions/fan-out.ts'
import { createUpstream } from '../upstream/client.ts'
import { createWebhookAddresses } from '../upstream/webhook-url.ts'
import { createClockWatch } from '../workers/clock-watch.ts'
import { createInspector } from '../workers/image-checker.ts'
import { createJanitor } from '../workers/janitor.ts'
import { createBreaker } from '../workers/poll-circuit.ts'
import { createLooks } from '../workers/poll-timing.ts'
import { createPoller } from '../workers/poller.ts'
import { createReconciler } from '../workers/reconciler.ts'
import { createProbe } from '../workers/submit-circuit-probe.ts'
import { createSubmitter } from '../workers/submitter.ts'
import { createReceiver } from '../workers/webhook-intake.ts'
import type { Log } from '../workers/worker-loop.ts'

export interface Gateway {
  /** `http://…`, without a path. */
  readonly url: string
  readonly endpoint: string
  readonly store: Store
  /** The upstream, where it is the simulator. */
  readonly simulator: Simulator | null
  /** An app of that name, made if need be, gets one more key. */
  issueKey(appName: string, lifeMs: number): Promise<string>
  /** Claims nothing more, gives a POST under way four seconds, closes every socket; at most five seconds. */
  close(): Promise<void>
}

/** For tests and the demo. */
export interface Overrides {
  now?: () => number
  quietMs?: number
  heartbeatMs?: number
  patience?: Partial<Patience>
  /** What a WebSocket has for its `connection_init`. */
  initMs?: number
  simulator?: Pick<SimulatorOptions, 'fault' | 'port'>
  reach?: Reach
}

const SIMULATOR_KEY = 'simulator'
/** A POST under way has this long to be answered. */
const DRAIN_MS = 4000
/** A socket has this long to answer its close frame, and a request that is under way to be answered. */
const GOODBYE_MS = 500
/** The outputs of a job that is called completed have the time of so many looks to come. */
const OUTPUT_LOOKS = 5
/** What a simulated job takes. */
const SIMULATED_MS = 8000
/** Between looks for connections that have become idle. */
const IDLE_MS = 20
const SECOND = 1000
const HOUR = 60 * 60 * 1000

/** @throws StartError where something outside stands in the way */
export async function createGateway(config: Config, given: Log, overrides: Overrides = {}): Promise<Gateway> {
  const now = overrides.now ?? Date.now
  /** What to end if the start fails half-way, and at `close`; the last first. */
  const opened: (() => Promise<void> | void)[] = []
  const closeAll = async () => {
    for (const end of opened.splice(0).reverse()) await end()
  }

  try {
    const bell = createBell()
    const store = openSqlite(config.databaseFile, bell.ring, { alone: true })
    opened.push(store.close)
    await belong(store, config)
    const names = await createNames(store)
    const log = withNames(given, names)

    const simulator = config.upstream === null ? await startSimulator(config, overrides) : null
    if (simulator !== null) opened.push(simulator.close)
    const { submitTimeoutMs, readTimeoutMs } = config
    const upstream = createUpstream({
      ...(config.upstream ?? { baseUrl: simulator?.origin ?? '', apiKey: SIMULATOR_KEY }),
      submitTimeoutMs,
      readTimeoutMs,
    })
    opened.push(upstream.close)
    const reach = overrides.reach ?? createReach({ allowPrivate: config.allowPrivateImageHosts })
    opened.push(reach.close)

    const cursorsOf = createCursors(store.cursorKey, store.epoch)
    const feed = await createFeed({ store, bell, log })
    opened.push(feed.close)
    const { quietMs, heartbeatMs } = overrides
    const turns = createTurns()
    const broadcast = createBroadcast({ feed, turns, log, ...(quietMs && { quietMs }) })
    opened.push(broadcast.close)

    const concurrency = config.upstreamConcurrency
    const breaker = createBreaker()
    const reads = () => !breaker.isOpen
    const { watchers } = broadcast
    const metrics = createMetrics({
      token: config.metricsToken,
      store,
      names,
      watchers,
      concurrency,
      reads,
      now,
      log,
    })
    opened.push(metrics.close)

    const tokens = createTokens(store.tokenKey, now)
    const rates = createRates({
      perAddress: config.maxRequestsPerMinutePerAddress,
      perKey: config.maxRequestsPerMinutePerKey,
      uploads: config.maxUploadsPerMinutePerApp,
      wrongKeys: config.maxWrongKeysPerMinute,
      guessed: metrics.guessed,
    })
    const { wrongKeys } = rates
    const authenticate = createAuthenticate({ store, tokens, names, wrongKeys, now })
    const services = {
      store,
      sources: createSources(store, cursorsOf),
      cursorsOf,
      tokens,
      now,
      mostUploadBytes: config.maxUploadBytesPerApp,
      urlOf: (path: string) => `${config.publicUrl ?? url}${path}`,
      notice: log.info.bind(log),
      refused: metrics.refused,
      turn: turns.next,
    }
    const { read, yoga } = createExecutor({
      services,
      broadcast,
      authenticate,
      rates,
      mostBytes: config.maxMessageBytes,
      limits: { mostCost: config.maxQueryCost, deepest: config.maxQueryDepth },
      allowIntrospection: config.allowIntrospection,
      log,
    })
    const connections = createConnections({
      authenticate,
      log,
      mostPerApp: config.maxConnectionsPerApp,
      refused: services.refused,
    })
    opened.push(connections.close)
    const heartbeat = createHeartbeat(heartbeatMs)
    opened.push(heartbeat.close)
    const caps = {
      messageBytes: config.maxMessageBytes,
      subscriptions: config.maxSubscriptionsPerConnection,
      operationsPerSecond: config.maxOperationsPerSecond,
      initMs: overrides.initMs,
    }
    const webSockets = createWebSockets({
      ...{ read, authenticate, connections, heartbeat, rates, caps, log },
      refused: services.refused,
      turn: services.turn,
    })
    // Without a secret every webhook would be refused: none is asked for.
    const webhooks = config.publicUrl !== null && config.webhookSecrets.length > 0
    const addresses = createWebhookAddresses(store.webhookKey, webhooks ? config.publicUrl : null)
    const finished = createBell()
    const receiver = createReceiver({ store, addresses, log, now, ring: finished.ring })
    const webhook = createWebhook({ receiver, secrets: config.webhookSecrets, now, log })

    const health = createHealth(store, reads)
    const graphiql = createGraphiql({
      introspection: config.allowIntrospection,
      sampleImage: simulator?.sampleImage ?? null,
    })
    opened.push(graphiql.close)
    const server = createHttp({
      admit: createAdmit(authenticate, rates, services),
      plainPost: createPlainPost(read, config.maxMessageBytes),
      yoga,
      graphiql,
      webSockets,
      webhook,
      previews: createPreviews(store, now),
      connections,
      heartbeat,
      health,
      metrics,
      pages: createPages(),
      rates,
      addresses: createAddresses(config.trustedProxies),
      crowd: createCrowd(config.maxConnectionsPerAddress),
      origins: createOrigins(config.allowedOrigins, config.publicUrl),
      setHeaders: createHeaders(config.publicUrl),
      mostConnections: config.maxConnections,
      patience: overrides.patience,
      log,
    })
    const url = await listen(server, config.host, config.port)

    const poll = { minMs: config.pollMinIntervalMs, maxMs: config.pollMaxIntervalMs }
    const expected = (model: VideoModel) =>
      simulator === null ? MODELS[model].expectedSeconds * SECOND : SIMULATED_MS
    const looks = createLooks({
      store,
      poll,
      expected,
      deadlineMs: config.deadlineMs,
      webhooks,
      receiver,
    })
    const common = {
      store,
      upstream,
      looks,
      log,
      now,
      submitTimeoutMs,
      readTimeoutMs,
      underway: new Set<string>(),
    }
    const workers = [
      createInspector({ ...common, reach, bell, concurrency }),
      createSubmitter({
        ...common,
        bell,
        addresses,
        receiver,
        submitted: metrics.submitted,
        concurrency,
        perMinute: config.upstreamSubmitsPerMinute,
      }),
      createPoller({
        ...common,
        bell: finished,
        breaker,
        deadlineMs: config.deadlineMs,
        graceMs: OUTPUT_LOOKS * poll.minMs,
      }),
      createReconciler({ ...common, breaker, unknownMs: config.unknownMs }),
      createProbe(common),
      createClockWatch({ ...common, monotonic: overrides.now ?? (() => performance.now()) }),
      createJanitor({
        ...common,
        feed,
        retentionMs: config.eventRetentionHours * HOUR,
        deadlineMs: config.deadlineMs,
      }),
    ]
    for (const worker of workers) worker.start()

    opened.push(async () => {
      health.drain()
      const deadline = AbortSignal.timeout(DRAIN_MS)
      // Nobody comes back on a connection that is about to end.
      server.prependListener('request', (_, response) => response.setHeader('Connection', 'close'))
      const stopped = Promise.all(workers.map(worker => worker.stop(deadline)))
      webSockets.refuse()
      // Until then whoever asks is told that it is not ready.
      await connections.drain(DRAIN_MS - 2 * GOODBYE_MS)
      await Promise.all([stopped, webSockets.close(GOODBYE_MS), answered(server, GOODBYE_MS)])
    })

    return {
      url,
      endpoint: `${url}${GRAPHQL_PATH}`,
      store,
      simulator,
      async issueKey(appName, lifeMs) {
        const app = (await store.appNamed(appName)) ?? (await store.createApp(appName, now()))
        if (app === null) throw new Error(`app ${appName} was made and taken away at once`)
        const { key, prefix, hash } = createKey()
        await store.addKey(app.id, { prefix, hash, expiresAt: now() + lifeMs }, now())
        return key
      },
      close: closeAll,
    }
  } catch (error) {
    await closeAll()
    throw error
  }
}

/** Closes it once all that was asked has its answer: whoever gets none asks again, and may pay again. */
async function answered(server: Server, graceMs: number): Promise<void> {
  const closed = new Promise(resolve => server.close(resolve))
  const cut = setTimeout(() => server.closeAllConnections(), graceMs)
  // Node closes those that are idle now, and not those that will be.
  const idle = setInterval(() => server.closeIdleConnections(), IDLE_MS)
  await closed
  clearTimeout(cut)
  clearInterval(idle)
}

/** The key stands behind the #: no browser sends that to any server. */
export const dashboardLink = (url: string, key: string | null): string =>
  key === null ? `${url}/` : `${url}/#key=${key}`

const ON_SIMULATOR = 'the simulator'

/** Rows that were queued on the simulator must never be paid for, nor one host's rows be asked of another. */
async function belong(store: Store, config: Config): Promise<void> {
  const wanted = config.upstream?.baseUrl ?? ON_SIMULATOR
  const owner = await store.bindUpstream(wanted)
  if (owner === wanted) return
  throw new StartError(
    `DATABASE_URL: ${config.databaseFile} belongs to ${owner}, and this start is for ${wanted}. ` +
      `Name another file for ${wanted}, or ${owner === ON_SIMULATOR ? 'unset WAVESPEED_API_KEY' : 'set the key and WAVESPEED_BASE_URL of its own upstream'}.`,
  )
}

async function startSimulator(config: Config, overrides: Overrides): Promise<Simulator> {
  const file =
    config.databaseFile === ':memory:' ? ':memory:' : join(dirname(config.databaseFile), 'simulator.db')
  const { createSimulator } = await import('../simulator/simulator.ts')
  try {
    const webhookSecret = config.webhookSecrets[0]
    return await createSimulator({ file, key: SIMULATOR_KEY, webhookSecret, ...overrides.simulator })
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code === 'EADDRINUSE')
      throw new StartError(
        `The simulator's port is in use (${message}): is another gateway running here? Its videos' addresses name this port. Stop what holds it, or delete ${file}: the simulated jobs go with it.`,
      )
    throw new StartError(`The simulator can't start: ${message} (${file}).`)
  }
}
