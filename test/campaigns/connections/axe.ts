/**
 * What befalls the gateway: it is killed, or told to stop, while jobs run and most clients watch, and started again.
 * Invariant: meanwhile the network leads nowhere, so nobody can reach a stranger who was given the gateway's old port.
 */

import type { Random } from '../../../src/simulator/seeded-random.ts'
import { rest } from '../../support/rest.ts'
import { until } from '../../support/until.ts'
import type { Crowd } from './crowd.ts'
import type { Log } from './log.ts'
import type { Network } from './network.ts'
import type { Plan } from './plan.ts'
import type { Victim } from './victim.ts'

export interface AxeOptions {
  victim: Victim
  network: Network
  crowd: Crowd
  log: Log
  random: Random
  plan: Plan
  signal: AbortSignal
  /** Called after each restart. */
  struck(blow: Blow): void
}

type Blow = keyof Plan['restarts']

const PATIENCE_MS = 30_000

export async function axe(options: AxeOptions): Promise<void> {
  const { victim, network, crowd, log, random, plan, signal, struck } = options
  const left = { ...plan.restarts }
  const blows = () => (Object.keys(left) as Blow[]).flatMap(blow => Array<Blow>(left[blow]).fill(blow))
  let before = Number.NEGATIVE_INFINITY
  const areBack = () => crowd.reconnects - before > crowd.members.length / 2
  while (blows().length > 0) {
    await until(() => signal.aborted || (areBack() && log.unfinished() > 0), PATIENCE_MS)
    await rest(random.between(...plan.aliveMs), signal)
    if (signal.aborted) return
    const blow = random.pick(blows())
    left[blow]--
    before = crowd.reconnects
    await victim.end(blow)
    network.aim(null)
    await victim.start()
    network.aim(victim.port)
    struck(blow)
  }
}
