/**
 * The composition root: builds every part of a gateway in order, and ends them in reverse order.
 */
import { issueKey } from '../auth/issue-key.ts'
import type { Config } from '../config/config.ts'
import { ALL_JOBS } from '../domain/hold.ts'
import { createEvents } from '../events/events.ts'
import type { Log } from '../observability/log.ts'
import { createObservability } from '../observability/observability.ts'
import { createClocks } from '../runtime/clocks.ts'
import { createWakeSignal } from '../runtime/wake-signal.ts'
import { listen } from '../server/http/listen.ts'
import { GRAPHQL_PATH } from '../server/operation/operation.ts'
import { createServer } from '../server/server.ts'
import type { Simulator } from '../simulator/simulator.ts'
import { openStore } from '../store/open-store.ts'
import type { Store } from '../store/store.ts'
import { createWorkers } from '../workers/workers.ts'
import { withCleanups } from './cleanups.ts'
import type { GatewayOverrides } from './options.ts'
import { shutDown } from './shutdown.ts'
import { openUpstream } from './upstream.ts'

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

/** @throws StartupError if the database, the port or a setting prevents the start */
export const createGateway = (
  config: Config,
  baseLog: Log,
  overrides: GatewayOverrides = {},
): Promise<Gateway> =>
  withCleanups(async cleanups => {
    const clocks = overrides.clocks ?? createClocks()
    const now = clocks.wall
    const wakeSignal = createWakeSignal()

    const thisProcess = { gatewayStartedAt: now() }
    const store = await openStore(config.databaseUrl, wakeSignal.notify, { thisProcess })
    cleanups.push(store.close)
    if (config.holdSubmits) await store.addHold({ ...ALL_JOBS, reason: 'start', why: null, since: now() })
    const observability = await createObservability({ config, store, baseLog, now })
    cleanups.push(observability.close)
    const upstream = await openUpstream(config, store, overrides)
    cleanups.push(upstream.close)
    const events = await createEvents({ store, wakeSignal, log: observability.log })
    cleanups.push(events.close)
    const workers = createWorkers({
      config,
      store,
      wakeSignal,
      upstream,
      events,
      observability,
      clocks,
    })
    const { simulator } = upstream
    const server = createServer({
      config,
      store,
      events,
      observability,
      workers,
      sampleImage: simulator?.sampleImage ?? null,
      toPublicUrl: path => `${config.publicUrl ?? url}${path}`,
      now,
      overrides,
    })
    cleanups.push(server.close)

    const url = await listen(server.httpServer, config.host, config.port, observability.log)
    cleanups.push(() => shutDown(server, workers))
    workers.start()

    return {
      url,
      endpoint: `${url}${GRAPHQL_PATH}`,
      store,
      simulator,
      issueKey: (appName, lifeMs) => issueKey(store, appName, now() + lifeMs, now()),
      close: cleanups.run,
    }
  })
