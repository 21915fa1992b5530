/**
 * Metrics by app, under its name: queue, spend, rejections, subscriptions.
 * Invariant: what a row contains is read from the rows at scrape time. Only what leaves no row is counted
 * here.
 */
import { LRUCache } from 'lru-cache'
import { Counter, Gauge, Histogram, type Registry } from 'prom-client'
import { fullScope } from '../domain/access-scope.ts'
import type { MutationErrorCode, RequestErrorCode } from '../domain/errors.ts'
import { MICROS_PER_USD } from '../domain/models.ts'
import type { AppId } from '../domain/prediction.ts'
import { MINUTE_MS } from '../domain/time.ts'
import type { App, Store } from '../store/store.ts'
import { createActivityLog, type SubscriptionsByApp } from './activity-log.ts'
import type { AppNames } from './app-names.ts'

export interface AppMetrics {
  countRejection(app: AppId, code: MutationErrorCode | RequestErrorCode): void
  /** A request had an unknown or malformed credential. */
  countInvalidCredential(): void
  /** @param ms from acceptance to upstream's response */
  observeQueueWait(app: AppId, ms: number): void
  /** Adds the gauge of subscriptions and starts the activity log. Called once: the part that has them is built later. */
  trackSubscriptions(subscriptionsByApp: SubscriptionsByApp): void
  close(): void
}

export interface AppMetricsOptions {
  store: Store
  appNames: AppNames
  now: () => number
  log: { info(fields: object, message: string): void }
}

const QUEUE_WAIT_BUCKETS_SECONDS = [1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600]
/** These codes are logged, once a minute for each app: a loop may cause a thousand rejections a second. */
const LOGGED_CODES = new Set<MutationErrorCode | RequestErrorCode>([
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
  const { store, appNames, now, log } = options
  const registers = [registry]
  const activityLog = createActivityLog(options)
  const recentlyLogged = new LRUCache<string, true>({ max: 1000, ttl: MINUTE_MS })

  const rejections = new Counter({
    name: 'rushes_rejections_total',
    help: 'Requests and mutations of an app that were rejected, by error code.',
    labelNames: ['app', 'code'],
    registers,
  })
  const invalidCredentials = new Counter({
    name: 'rushes_invalid_credentials_total',
    help: 'Requests with an unknown or malformed key or token.',
    registers,
  })
  const queueWaits = new Histogram({
    name: 'rushes_queue_wait_seconds',
    help: 'Seconds from the acceptance of a job until upstream accepted it.',
    labelNames: ['app'],
    buckets: QUEUE_WAIT_BUCKETS_SECONDS,
    registers,
  })

  /** A gauge over all apps, computed at scrape time. */
  const addAppGauge = (
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
          await read(app, (value, extraLabels = {}) => this.set({ app: app.name, ...extraLabels }, value))
      },
    })

  addAppGauge(
    'rushes_app_predictions',
    'Predictions of an app that are queued or in flight.',
    ['state'],
    async ({ id }, set) => {
      const { queued, inFlight } = await readUsage(id)
      set(queued, { state: 'queued' })
      set(inFlight, { state: 'in_flight' })
    },
  )
  addAppGauge(
    'rushes_app_spent_usd',
    'Cost of an app’s predictions of this UTC month.',
    [],
    async ({ id }, set) => set((await readUsage(id)).spent / MICROS_PER_USD),
  )

  const readUsage = (id: AppId) => store.usage(fullScope(id), now())

  return {
    countRejection(app, code) {
      rejections.inc({ app: appNames.nameOf(app), code })
      const logKey = `${app} ${code}`
      if (!LOGGED_CODES.has(code) || recentlyLogged.has(logKey)) return
      recentlyLogged.set(logKey, true)
      log.info({ app, code }, 'app hit a limit (logged at most once a minute)')
    },
    countInvalidCredential: () => invalidCredentials.inc(),
    observeQueueWait: (app, ms) => queueWaits.observe({ app: appNames.nameOf(app) }, Math.max(0, ms) / 1000),
    trackSubscriptions(subscriptionsByApp) {
      addAppGauge('rushes_app_subscriptions', 'Live subscriptions of an app.', [], ({ id }, set) =>
        set(subscriptionsByApp().get(id) ?? 0),
      )
      activityLog.start(subscriptionsByApp)
    },
    close: activityLog.close,
  }
}
