/**
 * A simulated app: submits jobs until answered, resends some, cancels some, retries some that failed.
 */
import { decodeIdOf } from '../../../src/graphql/global-id.ts'
import type { SeededRandom } from '../../../src/simulator/seeded-random.ts'
import { sleep } from '../../support/sleep.ts'
import type { AppHistory } from './app-history.ts'
import { CANCEL, ENDED_PREDICTIONS, RETRY } from './documents.ts'
import type { GatewayDatabase } from './gateway-database.ts'
import type { Plan } from './plan.ts'
import { findMarker } from './prompt-marker.ts'
import { createRequestFactory, durationWord, type RepeatableRequest } from './request-factory.ts'
import type { ExecuteOperation } from './retrying-client.ts'

export interface SimulatedAppOptions {
  app: string
  execute: ExecuteOperation
  imageUrl: string
  plan: Plan
  random: SeededRandom
  history: AppHistory
  database: GatewayDatabase
  /** Stops the app after its minimum number of jobs. */
  stopSignal: AbortSignal
}

const FAILURE_WORDS = [1200, 1400, 1402, 1405, 1406, 5000, 5003, 5004].map(code => `sim:fail=${code}`)
const OUTCOME_WORDS = [
  ...FAILURE_WORDS,
  'sim:end=failed',
  'sim:end=timeout',
  'sim:end=cancelled',
  'sim:empty',
  'sim:nsfw',
]
/** Shares of jobs that fail, and of answered jobs that are resent. */
const FAILURE_CHANCE = 1 / 3
const RESEND_CHANCE = 1 / 5
/** Share of cancels that come early, probably during the POST. */
const EARLY_CANCEL_CHANCE = 1 / 2
const RETRY_INTERVAL_MS = [100, 600] as const

export async function runSimulatedApp(options: SimulatedAppOptions): Promise<void> {
  const { app, execute, imageUrl, plan, random, history, database, stopSignal } = options
  const requestFactory = createRequestFactory(app, execute, imageUrl, history)
  const pending: Promise<unknown>[] = []
  let submittedCount = 0

  async function sendRequest(request: RepeatableRequest, jobRandom: SeededRandom): Promise<string | null> {
    const id = await request.send()
    if (jobRandom.chance(RESEND_CHANCE)) pending.push(sleep(plan.cancelDelayMs[1]).then(request.send))
    return id
  }

  async function submit(n: number): Promise<void> {
    const jobRandom = random.fork(`job ${n}`)
    const promptWords = [
      durationWord(jobRandom, plan.durationTenths),
      ...(jobRandom.chance(FAILURE_CHANCE) ? [jobRandom.pick(OUTCOME_WORDS)] : []),
    ]
    const id = await sendRequest(
      requestFactory.createVideo(n, jobRandom.pick(plan.models), promptWords.join(' ')),
      jobRandom,
    )
    if (id === null || !jobRandom.chance(plan.cancelRatio)) return
    const [minMs, maxMs] = plan.cancelDelayMs
    const delayMs = jobRandom.between(minMs, jobRandom.chance(EARLY_CANCEL_CHANCE) ? maxMs / 6 : maxMs)
    pending.push(sleep(delayMs).then(() => cancel(id)))
  }

  async function cancel(id: string): Promise<void> {
    const { answer } = await execute(CANCEL, { input: { id } })
    const { __typename: kind, prediction, mayStillBeCharged = null } = answer
    const isCanceled = kind === 'CancelPredictionPayload' && prediction.status === 'CANCELED'
    if (isCanceled || kind === 'AlreadyFinishedError')
      history.recordCancel({
        app,
        id: decodeIdOf('Prediction', id),
        status: prediction.status,
        mayStillBeCharged,
      })
    else history.recordBreach(`a cancel of ${app} was answered with ${JSON.stringify(answer)}`)
  }

  async function submitLoop(): Promise<void> {
    while (!stopSignal.aborted || submittedCount < plan.minJobsPerApp) {
      if (stopSignal.aborted || database.countUnsent() < plan.maxUnsent) await submit(submittedCount++)
      await sleep(random.between(...plan.submitIntervalMs), stopSignal)
    }
  }

  async function retryEndedJobs(): Promise<void> {
    for (let remaining = plan.retriesPerApp; remaining > 0 && !stopSignal.aborted; remaining--) {
      await sleep(random.between(...RETRY_INTERVAL_MS), stopSignal)
      const endedPredictions = (await execute(ENDED_PREDICTIONS)).predictions.edges as {
        node: EndedPrediction
      }[]
      if (endedPredictions.length === 0) continue
      const { id, input } = random.pick(endedPredictions).node
      const retryOf = decodeIdOf('Prediction', id)
      const key = `retry ${remaining} of ${retryOf}`
      const request = { key, marker: findMarker(input.prompt), retryOf }
      await sendRequest(requestFactory.create(RETRY, { id, idempotencyKey: key }, request), random.fork(key))
    }
  }

  await Promise.all([...Array.from({ length: plan.concurrentSubmits }, submitLoop), retryEndedJobs()])
  await Promise.all(pending)
}

interface EndedPrediction {
  id: string
  input: { prompt: string }
}
