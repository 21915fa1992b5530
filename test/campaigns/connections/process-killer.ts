/**
 * Stops the gateway by SIGKILL or SIGTERM while jobs run and most clients are connected, then restarts it.
 * Invariant: meanwhile the proxy has no target, so no client reaches another process that got the gateway's old port.
 */

import type { SeededRandom } from '../../../src/simulator/seeded-random.ts'
import { sleep } from '../../support/sleep.ts'
import { until } from '../../support/until.ts'
import type { FaultProxy } from './fault-proxy.ts'
import type { GatewayDatabase } from './gateway-database.ts'
import type { GatewayProcess } from './gateway-process.ts'
import type { Plan } from './plan.ts'
import type { SubscriberPool } from './subscriber-pool.ts'

export interface ProcessKillerOptions {
  gateway: GatewayProcess
  proxy: FaultProxy
  pool: SubscriberPool
  database: GatewayDatabase
  random: SeededRandom
  plan: Plan
  signal: AbortSignal
  /** Called after each restart. */
  onRestart(stopSignal: StopSignal): void
}

type StopSignal = keyof Plan['restarts']

const RECONNECT_TIMEOUT_MS = 30_000

export async function killRepeatedly(options: ProcessKillerOptions): Promise<void> {
  const { gateway, proxy, pool, database, random, plan, signal, onRestart } = options
  const remaining = { ...plan.restarts }
  const remainingSignals = () =>
    (Object.keys(remaining) as StopSignal[]).flatMap(stopSignal =>
      Array<StopSignal>(remaining[stopSignal]).fill(stopSignal),
    )
  let reconnectsBefore = Number.NEGATIVE_INFINITY
  const haveReconnected = (share: number) =>
    pool.reconnects - reconnectsBefore > pool.subscribers.length * share
  while (remainingSignals().length > 0) {
    await until(
      () => signal.aborted || (haveReconnected(0.5) && database.countUnfinished() > 0),
      RECONNECT_TIMEOUT_MS,
    )
    await sleep(random.between(...plan.uptimeMs), signal)
    if (signal.aborted) return
    const stopSignal = random.pick(remainingSignals())
    remaining[stopSignal]--
    reconnectsBefore = pool.reconnects
    await gateway.stop(stopSignal)
    proxy.setTarget(null)
    await gateway.restart()
    proxy.setTarget(gateway.port)
    onRestart(stopSignal)
  }
}
