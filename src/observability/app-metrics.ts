/**
 * Each app's figures, by its name: what waits and runs, what it has spent, what it was refused, who watches.
 * Invariant: a figure that a row has is read from the rows when it is asked for; only what leaves no row is counted here.
 */
import { LRUCache } from 'lru-cache'
import { Counter, Gauge, Histogram, type Registry } from 'prom-client'
import { wholeOf } from '../domain/access-scope.ts'
import type { RefusalCode, RequestErrorCode } from '../domain/errors.ts'
import { MICRO_USD } from '../domain/models.ts'
import type { AppId } from '../domain/prediction.ts'
import type { App, Store } from '../store/store.ts'
import type { Names } from './app-names.ts'

export interface AppMetrics {
  refused(app: AppId, reason: RefusalCode | RequestErrorCode): void
  /** Somebody came with a key that is none. */
  guessed(): void
  /** @param ms from acceptance to upstream's answer */
  submitted(app: AppId, ms: number): void
  close(): void
}

export interface AppMetricsOptions {
  store: Store
  names: Names
  /** Live subscriptions, by app. */
  watchers: () => ReadonlyMap<string, number>
  now: () => number
  log: { info(fields: object, message: string): void }
}

/** Seconds in the queue. */
const BUCKETS = [1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600]
const MINUTE_MS = 60_000
/** The same refusal of the same app is logged once a minute: a loop may meet it a thousand times a second. */
const LOGGED = new Set<RefusalCode | RequestErrorCode>([
  'RATE_LIMITED',
  'QUEUE_FULL',
  'BUDGET_EXCEEDED',
  'FORBIDDEN',
  'QUERY_TOO_COMPLEX',
  'TOO_MANY_CONNECTIONS',
  'TOO_MANY_SUBSCRIPTIONS',
  'TOO_MANY_OPERATIONS',
])

export function createAppMetrics(registry: Registry, options: AppMetricsOptions): AppMetrics {
  const { store, names, watchers, now, log } = options
  const registers = [registry]
  const logged = new LRUCache<string, true>({ max: 1000, ttl: MINUTE_MS })

  const refusals = new Counter({
    name: 'rushes_rejections_total',
    help: 'Requests and mutations of an app that were rejected, by error code.',
    labelNames: ['app', 'code'],
    registers,
  })
  const guesses = new Counter({
    name: 'rushes_invalid_credentials_total',
    help: 'Requests with an unknown or malformed key or token.',
    registers,
  })
  const waits = new Histogram({
    name: 'rushes_queue_wait_seconds',
    help: 'Seconds from the acceptance of a job until upstream accepted it.',
    labelNames: ['app'],
    buckets: BUCKETS,
    registers,
  })

  /** A gauge of the apps as they are when it is read. */
  const gauge = (
    name: string,
    help: string,
    labels: string[],
    read: (app: App, set: (value: number, more?: Record<string, string>) => void) => unknown,
  ) =>
    new Gauge({
      name,
      help,
      labelNames: ['app', ...labels],
      registers,
      async collect() {
        this.reset()
        for (const app of await store.listApps())
          await read(app, (value, more = {}) => this.set({ app: app.name, ...more }, value))
      },
    })

  gauge(
    'rushes_app_predictions',
    'Predictions of an app that are queued or in flight.',
    ['state'],
    async ({ id }, set) => {
      const { queued, inFlight } = await usageOf(id)
      set(queued, { state: 'queued' })
      set(inFlight, { state: 'in_flight' })
    },
  )
  gauge('rushes_app_spent_usd', 'Cost of an app’s predictions of this UTC month.', [], async ({ id }, set) =>
    set((await usageOf(id)).spent / MICRO_USD),
  )
  gauge('rushes_app_subscriptions', 'Live subscriptions of an app.', [], ({ id }, set) =>
    set(watchers().get(id) ?? 0),
  )

  const usageOf = (id: AppId) => store.usage(wholeOf(id), now())

  async function tell(): Promise<void> {
    for (const { id } of await store.listApps()) {
      const { queued, inFlight, spent } = await usageOf(id)
      const watching = watchers().get(id) ?? 0
      if (queued + inFlight + watching > 0)
        log.info(
          { app: id, queued, inFlight, spentUsd: spent / MICRO_USD, subscriptions: watching },
          'app activity',
        )
    }
  }
  const timer = setInterval(() => tell().catch(() => {}), MINUTE_MS)
  timer.unref()

  return {
    refused(app, reason) {
      refusals.inc({ app: names.of(app), code: reason })
      const line = `${app} ${reason}`
      if (!LOGGED.has(reason) || logged.has(line)) return
      logged.set(line, true)
      log.info({ app, code: reason }, 'app hit a limit (logged at most once a minute)')
    },
    guessed: () => guesses.inc(),
    submitted: (app, ms) => waits.observe({ app: names.of(app) }, Math.max(0, ms) / 1000),
    close: () => clearInterval(timer),
  }
}
