/**
 * Kills: at random moments, and in the middle of a call to upstream or of a webhook from it.
 * Invariant: after each the gateway is started again, and when it answers the gateway runs.
 */
import type { Random } from '../../../src/simulator/seeded-random.ts'
import { rest } from '../../support/rest.ts'
import { until } from '../../support/until.ts'
import type { Plan } from './plan.ts'
import type { Prey, Upstream } from './upstream.ts'
import type { Victim } from './victim.ts'

export interface AxeOptions {
  victim: Victim
  upstream: Upstream
  plan: Plan
  random: Random
  signal: AbortSignal
  /** Called after each restart. */
  struck(blow: string): void
}

const PREY: readonly (readonly [Prey, number])[] = [
  ['submit', 5],
  ['look', 2],
  ['webhook', 2],
]
/** After the call arrived: before its answer is out, or when the gateway is about to write it down. */
const AFTER_MS = [0, 0, 1, 2, 4, 8, 15, 30]
/** The first call may be a lone trial; the tenth has others beside it. */
const NTH = [1, 3, 10]
/** Whom nothing came near is killed all the same. */
const PATIENCE_MS = 2000

export async function axe({ victim, upstream, plan, random, signal, struck }: AxeOptions): Promise<void> {
  const left = [...Array<boolean>(plan.kills).fill(false), ...Array<boolean>(plan.aimed).fill(true)]
  while (left.length > 0) {
    await rest(random.between(...plan.aliveMs), signal)
    if (signal.aborted) return
    const [isAimed] = left.splice(random.between(0, left.length - 1), 1)
    const prey = isAimed ? random.weigh(PREY)! : null
    const before = victim.kills.length
    let isHit = false
    if (prey !== null) {
      let isOver = false
      const strike = () => {
        if (!isOver) victim.kill()
      }
      const ms = random.pick(AFTER_MS)
      upstream.aim(prey, random.pick(NTH), ms === 0 ? strike : () => setTimeout(strike, ms))
      await until(() => victim.kills.length > before || signal.aborted, PATIENCE_MS).catch(() => {})
      upstream.spare()
      isOver = true
      isHit = victim.kills.length > before
    }
    if (!isHit) victim.kill()
    if (signal.aborted) return
    await victim.revive()
    struck(`SIGKILL${isHit ? ` amid a ${prey}` : ''}`)
  }
}
