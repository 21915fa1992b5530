/**
 * Builds what an operator sees of the process: the log with app names, and the metrics.
 */
import type { Config } from '../config/config.ts'
import type { Store } from '../store/store.ts'
import { type AppNames, createAppNames, withAppNames } from './app-names.ts'
import type { Log } from './log.ts'
import { createMetrics, type Metrics } from './metrics.ts'

export interface Observability {
  /** Names the app where `baseLog` has its id. */
  log: Log
  appNames: AppNames
  metrics: Metrics
  close(): void
}

export async function createObservability(options: {
  config: Pick<Config, 'metricsToken' | 'upstreamConcurrency'>
  store: Store
  baseLog: Log
  now: () => number
}): Promise<Observability> {
  const { config, store, baseLog, now } = options
  const appNames = await createAppNames(store)
  const log = withAppNames(baseLog, appNames)
  const { metricsToken, upstreamConcurrency } = config
  const metrics = createMetrics({ metricsToken, upstreamConcurrency, store, appNames, now, log })
  return { log, appNames, metrics, close: metrics.close }
}
