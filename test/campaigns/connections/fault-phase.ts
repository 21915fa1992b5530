/**
 * The fault phase: network faults, kills, jobs and late subscribers at once.
 * Invariant: when it returns the gateway runs, the proxy forwards, and every submit is answered.
 */

import type { SeededRandom } from '../../../src/simulator/seeded-random.ts'
import type { App } from '../../support/app.ts'
import type { CampaignRun } from '../../support/campaign.ts'
import { sleep } from '../../support/sleep.ts'
import { immediateBreaches } from './breaches.ts'
import { injectNetworkFaults } from './network-faults.ts'
import { type Plan, totalRestarts } from './plan.ts'
import { killRepeatedly } from './process-killer.ts'
import type { Scenario } from './scenario.ts'
import { submitJobs } from './submit-jobs.ts'

export interface FaultPhaseResult {
  restarts: number
  /** Submitted jobs by app. */
  submittedJobs: ReadonlyMap<App, number>
}

export async function runFaultPhase(
  scenario: Scenario,
  { plan, random, report, interrupt }: CampaignRun<Plan>,
): Promise<FaultPhaseResult> {
  const { gateway, proxy, url, pool, apps } = scenario
  const stopController = new AbortController()
  const { signal } = stopController
  const submittedJobs = new Map<App, number>()
  let restarts = 0

  async function submitForApp(app: App): Promise<void> {
    submittedJobs.set(
      app,
      await submitJobs(url, app.key, gateway.imageUrl, random.fork(`jobs of ${app.name}`), signal),
    )
  }

  async function addLateSubscribers(random: SeededRandom): Promise<void> {
    for (const transport of plan.lateTransports) {
      await sleep(random.between(...plan.lateJoinDelayMs), signal)
      pool.add(transport, apps[0], pool.subscribers[0]!.history.firstCursor!)
    }
  }

  function onRestart(stopSignal: string): void {
    restarts++
    report(`${stopSignal} and restart, ${pool.reconnects} reconnects`)
  }

  async function stopWhenDone(): Promise<void> {
    const deadline = Date.now() + plan.maxDurationMs
    const isPlanMet = () => pool.reconnects >= plan.minReconnects && restarts === totalRestarts(plan)
    const mustStop = () =>
      interrupt.aborted || immediateBreaches(scenario).length > 0 || Date.now() > deadline
    while (!isPlanMet() && !mustStop()) await sleep(20, signal)
    stopController.abort()
  }

  const tasks = [
    ...apps.map(submitForApp),
    addLateSubscribers(random.fork('late')),
    injectNetworkFaults({ proxy, pool, random: random.fork('network faults'), plan, signal }),
    killRepeatedly({ ...scenario, random: random.fork('killer'), plan, signal, onRestart }),
    stopWhenDone(),
  ]
  // The first task that fails stops the others, and its error is thrown.
  await Promise.all(tasks).finally(async () => {
    stopController.abort()
    await Promise.allSettled(tasks)
  })
  return { restarts, submittedJobs }
}
