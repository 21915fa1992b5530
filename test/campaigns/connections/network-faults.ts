/**
 * Injects network faults: concurrent loops that each pick a connection and break it.
 * Invariant: afterwards no connection is paused, half-open or about to be truncated.
 */

import type { SeededRandom } from '../../../src/simulator/seeded-random.ts'
import { sleep } from '../../support/sleep.ts'
import type { Direction, FaultProxy, ProxiedConnection } from './fault-proxy.ts'
import type { Plan } from './plan.ts'
import type { SubscriberPool } from './subscriber-pool.ts'

export interface NetworkFaultOptions {
  proxy: FaultProxy
  pool: SubscriberPool
  random: SeededRandom
  plan: Plan
  signal: AbortSignal
}

const DIRECTIONS: readonly Direction[] = ['up', 'down']
const FAULT_INTERVAL_MS = [10, 300] as const
const HALF_OPEN_MS = [50, 1500] as const
/** Truncates mostly within an event, of 300 bytes or 120 KB. */
const TRUNCATE_AFTER_BYTES = [1, 3000] as const
/** Every eighth connection on average is truncated in its handshake, its subscribe or its first result. */
const EARLY_TRUNCATION_CHANCE = 1 / 8
const EARLY_TRUNCATION_BYTES = [1, 1200] as const

export async function injectNetworkFaults({
  proxy,
  pool,
  random,
  plan,
  signal,
}: NetworkFaultOptions): Promise<void> {
  const faults: readonly ((connection: ProxiedConnection, random: SeededRandom) => Promise<void> | void)[] = [
    connection => connection.reset(),
    (_, random) => random.pick(pool.subscribers).dropConnection(),
    (connection, random) => connection.truncateAfter('down', random.between(...TRUNCATE_AFTER_BYTES)),
    (connection, random) => connection.truncateAfter('down', random.between(...TRUNCATE_AFTER_BYTES)),
    async (_, random) => {
      const connection = busiest(proxy, random)
      connection.pause()
      await sleep(random.between(...plan.pauseMs), signal)
      connection.resume()
    },
    async (connection, random) => {
      connection.dropSide(random.pick(DIRECTIONS))
      await sleep(random.between(...HALF_OPEN_MS), signal)
      connection.reset()
    },
  ]

  async function injectLoop(random: SeededRandom): Promise<void> {
    while (!signal.aborted) {
      await sleep(random.between(...FAULT_INTERVAL_MS), signal)
      if (proxy.connections.size > 0) await random.pick(faults)(random.pick([...proxy.connections]), random)
    }
  }

  const earlyRandom = random.fork('early truncation')
  proxy.onConnection = connection => {
    if (earlyRandom.chance(EARLY_TRUNCATION_CHANCE))
      connection.truncateAfter(earlyRandom.pick(DIRECTIONS), earlyRandom.between(...EARLY_TRUNCATION_BYTES))
  }
  await Promise.all(
    Array.from({ length: plan.concurrentFaults }, (_, i) => injectLoop(random.fork(`fault ${i}`))),
  )
  proxy.onConnection = () => {}
  for (const connection of proxy.connections)
    for (const direction of DIRECTIONS) connection.truncateAfter(direction, Number.POSITIVE_INFINITY)
}

/** The busiest of four, since a stall matters where many bytes are to come. */
const busiest = ({ connections }: FaultProxy, random: SeededRandom): ProxiedConnection =>
  Array.from({ length: 4 }, () => random.pick([...connections])).reduce((a, b) =>
    a.bytesDown > b.bytesDown ? a : b,
  )
