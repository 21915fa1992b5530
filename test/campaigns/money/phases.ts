/**
 * The phases of a run: warm-up, fault phase, recovery.
 * Invariant: when it returns every request is answered and the gateway was stopped.
 */
import type { App } from '../../support/app.ts'
import type { CampaignRun } from '../../support/campaign.ts'
import { sleep } from '../../support/sleep.ts'
import { until } from '../../support/until.ts'
import { USAGE } from './documents.ts'
import type { FaultyUpstream } from './faulty-upstream.ts'
import type { Plan } from './plan.ts'
import { killRepeatedly } from './process-killer.ts'
import { createRetryingClient } from './retrying-client.ts'
import type { Scenario } from './scenario.ts'
import { runSimulatedApp } from './simulated-app.ts'
import { runWarmUp } from './warm-up.ts'

const CHECK_INTERVAL_MS = 100

/** Returns the number of leaked slots. */
export async function runPhases(
  scenario: Scenario,
  { plan, random, report, interrupt }: CampaignRun<Plan>,
): Promise<number> {
  const { upstream, gateway, apps, warmUpApp, database, history } = scenario
  const failure = new AbortController()
  const signal = AbortSignal.any([interrupt, failure.signal])
  const createClient = ({ name, key }: App) =>
    createRetryingClient(gateway.url, key, random.fork(`client of ${name}`), signal)
  const createAppOptions = (app: App) => ({
    app: app.name,
    execute: createClient(app),
    imageUrl: upstream.simulator.sampleImage,
    plan,
    random: random.fork(app.name),
    history,
    database,
  })

  async function runFaultPhase(): Promise<void> {
    upstream.enableFaults()
    const stop = new AbortController()
    const onRestart = (kill: string) => report(`${kill} and restart, ${upstream.posts.length} POSTs so far`)
    const killing = killRepeatedly({
      gateway,
      upstream,
      plan,
      random: random.fork('killer'),
      signal,
      onRestart,
    })
    const deadline = Date.now() + plan.maxFaultPhaseMs
    const faultsDone = killing
      .then(() =>
        waitUntil(() => countFaultySubmits(upstream) >= plan.minFaultySubmits, deadline - Date.now()),
      )
      .finally(() => stop.abort())
    const stopOptions = { stopSignal: AbortSignal.any([signal, stop.signal]) }
    await Promise.all([
      faultsDone,
      ...apps.map(app => runSimulatedApp({ ...createAppOptions(app), ...stopOptions })),
    ])
    await waitUntil(() => database.countUnsent() === 0, plan.maxDrainMs)
    upstream.disableFaults()
  }

  async function waitUntil(condition: () => Promise<boolean> | boolean, timeoutMs: number): Promise<void> {
    await until(async () => {
      await sleep(CHECK_INTERVAL_MS, signal)
      return signal.aborted || (await condition())
    }, timeoutMs).catch(() => {})
  }

  const clients = [...apps, warmUpApp].map(createClient)
  async function countOccupiedSlots(): Promise<number> {
    const usages = await Promise.all(clients.map(execute => execute(USAGE)))
    return usages.reduce((sum, { viewer: { usage } }) => sum + usage.inFlight + usage.queued, 0)
  }

  async function run(): Promise<number> {
    await runWarmUp({ ...createAppOptions(warmUpApp), signal })
    gateway.kill()
    await gateway.restart()
    report(`warm-up done, ${upstream.posts.length} jobs; the fault phase begins`)
    await runFaultPhase()
    report(
      `faults stopped: ${database.countUnfinished()} predictions unfinished, ${database.countUnsent()} not sent`,
    )
    await waitUntil(() => database.countUnfinished() === 0, plan.settleTimeoutMs)
    await waitUntil(async () => (await countOccupiedSlots()) === 0, plan.settleTimeoutMs)
    signal.throwIfAborted()
    const leakedSlots = await countOccupiedSlots()
    await gateway.stop()
    return leakedSlots
  }

  const finished = new AbortController()
  const watchdog = watchForBreaches(scenario, finished.signal, failure)
  try {
    return await run()
  } catch (error) {
    failure.abort(error)
    throw failure.signal.reason
  } finally {
    finished.abort()
    await watchdog
  }
}

/** Submits that met a fault. */
const countFaultySubmits = ({ posts }: FaultyUpstream): number =>
  posts.filter(({ kind }) => kind !== null).length

/** A breach stops the run at once, since no request would be answered any more. */
async function watchForBreaches(
  { gateway, history }: Scenario,
  finished: AbortSignal,
  failure: AbortController,
): Promise<void> {
  const breach = () => gateway.breach ?? history.breach
  while (!finished.aborted && breach() === null) await sleep(20, finished)
  if (!finished.aborted) failure.abort(new Error(breach()!))
}
