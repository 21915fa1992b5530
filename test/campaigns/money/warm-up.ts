/**
 * The warm-up: jobs without faults teach the gateway the completion times. With the catalogue's minutes alone, it
 * would not poll a job with a lost webhook within the run.
 */
import { sleep } from '../../support/sleep.ts'
import { until } from '../../support/until.ts'
import { createRequestFactory, durationWord } from './request-factory.ts'
import type { SimulatedAppOptions } from './simulated-app.ts'

export interface WarmUpOptions extends Omit<SimulatedAppOptions, 'stopSignal'> {
  signal: AbortSignal
}

const WARM_UP_TIMEOUT_MS = 30_000
/** On a busy machine the last tenth need not be awaited. */
const REQUIRED_SHARE = 0.9
/** Concurrent jobs. */
const CONCURRENT_JOBS = 10

export async function runWarmUp(options: WarmUpOptions): Promise<void> {
  const { app, execute, imageUrl, plan, random, history, database, signal } = options
  const requestFactory = createRequestFactory(app, execute, imageUrl, history)
  const jobModels = plan.models.flatMap(model => Array<string>(plan.warmUpJobs).fill(model))
  const total = jobModels.length
  let n = 0
  async function submitLoop(): Promise<void> {
    for (let model = jobModels.pop(); model !== undefined; model = jobModels.pop())
      await requestFactory.createVideo(n++, model, durationWord(random, plan.durationTenths)).send()
  }
  await Promise.all(Array.from({ length: CONCURRENT_JOBS }, submitLoop))
  await until(async () => {
    await sleep(50, signal)
    return signal.aborted || database.countUnfinished() <= (1 - REQUIRED_SHARE) * total
  }, WARM_UP_TIMEOUT_MS)
}
