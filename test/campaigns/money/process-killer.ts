/**
 * Kills the gateway at random moments, or during an upstream call or a webhook.
 * Invariant: it is restarted after each kill, and runs when this returns.
 */
import type { SeededRandom } from '../../../src/simulator/seeded-random.ts'
import { sleep } from '../../support/sleep.ts'
import { until } from '../../support/until.ts'
import type { FaultyUpstream, KillPoint } from './faulty-upstream.ts'
import type { GatewayProcess } from './gateway-process.ts'
import type { Plan } from './plan.ts'

export interface ProcessKillerOptions {
  gateway: GatewayProcess
  upstream: FaultyUpstream
  plan: Plan
  random: SeededRandom
  signal: AbortSignal
  /** Called after each restart. */
  onRestart(kill: string): void
}

const KILL_POINTS: readonly (readonly [KillPoint, number])[] = [
  ['submit', 5],
  ['poll', 2],
  ['webhook', 2],
]
/** Delay after the call arrived. 0 is before its answer. */
const KILL_DELAYS_MS = [0, 0, 1, 2, 4, 8, 15, 30]
/** Call 1 may be a lone circuit probe; call 10 has others beside it. */
const CALL_NUMBERS = [1, 3, 10]
/** If no such call comes within this time, the gateway is killed anyway. */
const KILL_POINT_TIMEOUT_MS = 2000

export async function killRepeatedly({
  gateway,
  upstream,
  plan,
  random,
  signal,
  onRestart,
}: ProcessKillerOptions): Promise<void> {
  const remainingKills = [
    ...Array<boolean>(plan.randomKills).fill(false),
    ...Array<boolean>(plan.targetedKills).fill(true),
  ]
  while (remainingKills.length > 0) {
    await sleep(random.between(...plan.uptimeMs), signal)
    if (signal.aborted) return
    const [isTargeted] = remainingKills.splice(random.between(0, remainingKills.length - 1), 1)
    const killPoint = isTargeted ? random.pickWeighted(KILL_POINTS)! : null
    const killsBefore = gateway.killTimes.length
    let wasKilledAtPoint = false
    if (killPoint !== null) {
      let isTooLate = false
      const kill = () => {
        if (!isTooLate) gateway.kill()
      }
      const delayMs = random.pick(KILL_DELAYS_MS)
      upstream.onNthCall(
        killPoint,
        random.pick(CALL_NUMBERS),
        delayMs === 0 ? kill : () => setTimeout(kill, delayMs),
      )
      await until(
        () => gateway.killTimes.length > killsBefore || signal.aborted,
        KILL_POINT_TIMEOUT_MS,
      ).catch(() => {})
      upstream.clearCallback()
      isTooLate = true
      wasKilledAtPoint = gateway.killTimes.length > killsBefore
    }
    if (!wasKilledAtPoint) gateway.kill()
    if (signal.aborted) return
    await gateway.restart()
    onRestart(`SIGKILL${wasKilledAtPoint ? ` during a ${killPoint}` : ''}`)
  }
}
