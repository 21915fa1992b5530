/**
 * The composition root: builds every part of a gateway in order, and ends them in reverse order.
 */
import { createTokens } from '../auth/access-token.ts'
import { issueKey } from '../auth/issue-key.ts'
import type { Config } from '../config/config.ts'
import { MODELS } from '../domain/models.ts'
import { HOUR_MS, SECOND_MS } from '../domain/time.ts'
import { createCursors } from '../events/cursor.ts'
import { createEventLog } from '../events/event-log.ts'
import { createSubscriptionSources } from '../events/subscription-source.ts'
import { createImageFetch } from '../image-fetch/image-fetch.ts'
import { createAppNames, withAppNames } from '../observability/app-names.ts'
import type { Log } from '../observability/log.ts'
import { createMetrics } from '../observability/metrics.ts'
import { createFairScheduler } from '../runtime/fair-scheduler.ts'
import { createWakeSignal } from '../runtime/wake-signal.ts'
import { listen } from '../server/http/listen.ts'
import { GRAPHQL_PATH } from '../server/operation/operation.ts'
import { createServer } from '../server/server.ts'
import type { Simulator } from '../simulator/simulator.ts'
import { openSqliteStore } from '../store/sqlite/sqlite-store.ts'
import type { Store } from '../store/store.ts'
import { createFanOut } from '../subscriptions/fan-out.ts'
import { createUpstream } from '../upstream/client.ts'
import { createWebhookUrls } from '../upstream/webhook-url.ts'
import { createPollCircuit } from '../workers/poll-circuit.ts'
import { createWebhookIntake } from '../workers/webhook-intake.ts'
import { createWorkers } from '../workers/workers.ts'
import type { GatewayOverrides } from './options.ts'
import { createCleanupStack, shutDown } from './shutdown.ts'
import { assertSameUpstream, chooseUpstream } from './upstream-choice.ts'

export interface Gateway {
  /** `http://…`, without a path. */
  readonly url: string
  readonly endpoint: string
  readonly store: Store
  /** Null with a real account. */
  readonly simulator: Simulator | null
  /** Adds a key to the app of this name. Creates the app if it does not exist. Returns the key. */
  issueKey(appName: string, lifeMs: number): Promise<string>
  /** Stops claiming, waits up to four seconds for POSTs in progress, closes every socket. Takes at most five seconds. */
  close(): Promise<void>
}

/** Expected duration of a simulated job. */
const SIMULATED_JOB_MS = 8000

/** @throws StartupError if the database, the port or a setting prevents the start */
export async function createGateway(
  config: Config,
  baseLog: Log,
  overrides: GatewayOverrides = {},
): Promise<Gateway> {
  const now = overrides.now ?? Date.now
  const cleanups = createCleanupStack()

  try {
    const wakeSignal = createWakeSignal()
    const store = openSqliteStore(config.databaseFile, wakeSignal.notify, { exclusive: true })
    cleanups.push(store.close)
    await assertSameUpstream(store, config)
    const appNames = await createAppNames(store)
    const log = withAppNames(baseLog, appNames)

    const { simulator, ...account } = await chooseUpstream(config, overrides)
    if (simulator !== null) cleanups.push(simulator.close)
    const { submitTimeoutMs, readTimeoutMs } = config
    const upstream = createUpstream({ ...account, submitTimeoutMs, readTimeoutMs })
    cleanups.push(upstream.close)
    const imageFetch =
      overrides.imageFetch ?? createImageFetch({ allowPrivateImageHosts: config.allowPrivateImageHosts })
    cleanups.push(imageFetch.close)

    const cursorsOf = createCursors(store.cursorKey, store.epoch)
    const eventLog = await createEventLog({ store, wakeSignal, log })
    cleanups.push(eventLog.close)
    const { cursorRefreshMs, keepAliveMs } = overrides
    const scheduler = createFairScheduler()
    const fanOut = createFanOut({ eventLog, scheduler, log, ...(cursorRefreshMs && { cursorRefreshMs }) })
    cleanups.push(fanOut.close)

    const upstreamConcurrency = config.upstreamConcurrency
    const pollCircuit = createPollCircuit()
    const isPollCircuitClosed = () => !pollCircuit.isOpen
    const { subscriptionsByApp } = fanOut
    const metrics = createMetrics({
      metricsToken: config.metricsToken,
      store,
      appNames,
      subscriptionsByApp,
      upstreamConcurrency,
      isPollCircuitClosed,
      now,
      log,
    })
    cleanups.push(metrics.close)

    const tokens = createTokens(store.tokenKey, now)
    const services = {
      store,
      sources: createSubscriptionSources(store, cursorsOf),
      cursorsOf,
      tokens,
      now,
      maxUploadBytesPerApp: config.maxUploadBytesPerApp,
      toPublicUrl: (path: string) => `${config.publicUrl ?? url}${path}`,
      logNotice: log.info.bind(log),
      countRejection: metrics.countRejection,
      nextSlice: scheduler.nextSlice,
    }
    // Without a secret every webhook would be refused: none is asked for.
    const webhooksEnabled = config.publicUrl !== null && config.webhookSecrets.length > 0
    const webhookUrls = createWebhookUrls(store.webhookKey, webhooksEnabled ? config.publicUrl : null)
    const pollSignal = createWakeSignal()
    const webhookIntake = createWebhookIntake({
      store,
      webhookUrls,
      log,
      now,
      notifyPoller: pollSignal.notify,
    })
    const { server, webSockets, connectionRegistry, health, closeParts } = createServer({
      config,
      services,
      fanOut,
      appNames,
      metrics,
      webhookIntake,
      isPollCircuitClosed,
      sampleImage: simulator?.sampleImage ?? null,
      keepAliveMs,
      initTimeoutMs: overrides.initTimeoutMs,
      timeouts: overrides.httpTimeouts,
      log,
    })
    cleanups.push(closeParts)

    const workers = createWorkers({
      store,
      upstream,
      imageFetch,
      eventLog,
      pollCircuit,
      webhookUrls,
      webhookIntake,
      webhooksEnabled,
      wakeSignal,
      pollSignal,
      onSubmitted: metrics.observeQueueWait,
      expectedMs: model =>
        simulator === null ? MODELS[model].expectedSeconds * SECOND_MS : SIMULATED_JOB_MS,
      upstreamConcurrency,
      upstreamSubmitsPerMinute: config.upstreamSubmitsPerMinute,
      pollLimits: { minMs: config.pollMinIntervalMs, maxMs: config.pollMaxIntervalMs },
      submitTimeoutMs,
      readTimeoutMs,
      submitUnknownAfterMs: config.submitUnknownAfterMs,
      deadlineMs: config.deadlineMs,
      eventRetentionMs: config.eventRetentionHours * HOUR_MS,
      now,
      monotonic: overrides.now ?? (() => performance.now()),
      log,
    })

    const url = await listen(server, config.host, config.port)
    cleanups.push(() => shutDown({ server, webSockets, connectionRegistry, health, workers }))
    workers.start()

    return {
      url,
      endpoint: `${url}${GRAPHQL_PATH}`,
      store,
      simulator,
      issueKey: (appName, lifeMs) => issueKey(store, appName, now() + lifeMs, now()),
      close: cleanups.run,
    }
  } catch (error) {
    await cleanups.run()
    throw error
  }
}
