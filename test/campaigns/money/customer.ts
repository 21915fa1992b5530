/**
 * An app: it submits jobs, each sent until it is answered and some sent again, thinks better of some, and retries some
 * that came to nothing.
 */
import { decodeIdOf } from '../../../src/graphql/global-id.ts'
import type { Random } from '../../../src/simulator/seeded-random.ts'
import { rest } from '../../support/rest.ts'
import type { Ask } from './ask.ts'
import { CANCEL, ENDED, RETRY } from './documents.ts'
import { markerOf } from './marker.ts'
import { createDesk, lasting, type Order } from './order.ts'
import type { Plan } from './plan.ts'
import type { Told } from './told.ts'
import type { Truth } from './truth.ts'

export interface CustomerOptions {
  app: string
  ask: Ask
  image: string
  plan: Plan
  random: Random
  told: Told
  truth: Truth
  /** Enough; but no fewer jobs than planned. */
  enough: AbortSignal
}

const CODES = [1200, 1400, 1402, 1405, 1406, 5000, 5003, 5004].map(code => `sim:fail=${code}`)
const ENDS = [...CODES, 'sim:end=failed', 'sim:end=timeout', 'sim:end=cancelled', 'sim:empty', 'sim:nsfw']
/** How many jobs end otherwise than well, and how many are sent once more though they were answered. */
const ILL = 1 / 3
const DOUBLED = 1 / 5
/** Cancels that may well come while the POST is under way. */
const SOON = 1 / 2
const RETRY_MS = [100, 600] as const

export async function beCustomer(options: CustomerOptions): Promise<void> {
  const { app, ask, image, plan, random, told, truth, enough } = options
  const desk = createDesk(app, ask, image, told)
  const later: Promise<unknown>[] = []
  let made = 0

  async function place(order: Order, chance: Random): Promise<string | null> {
    const id = await order.send()
    if (chance.chance(DOUBLED)) later.push(rest(plan.cancelMs[1]).then(order.send))
    return id
  }

  async function submit(n: number): Promise<void> {
    const chance = random.fork(`job ${n}`)
    const words = [lasting(chance, plan.tenths), ...(chance.chance(ILL) ? [chance.pick(ENDS)] : [])]
    const id = await place(desk.video(n, chance.pick(plan.models), words.join(' ')), chance)
    if (id === null || !chance.chance(plan.cancels)) return
    const [least, most] = plan.cancelMs
    const ms = chance.between(least, chance.chance(SOON) ? most / 6 : most)
    later.push(rest(ms).then(() => cancel(id)))
  }

  async function cancel(id: string): Promise<void> {
    const { answer } = await ask(CANCEL, { input: { id } })
    const { __typename: kind, prediction, mayStillBeCharged = null } = answer
    const isDone = kind === 'CancelPredictionPayload' && prediction.status === 'CANCELED'
    if (isDone || kind === 'AlreadyFinishedError')
      told.canceled({ app, id: decodeIdOf('Prediction', id), status: prediction.status, mayStillBeCharged })
    else told.fail(`a cancel of ${app} was answered with ${JSON.stringify(answer)}`)
  }

  async function line(): Promise<void> {
    while (!enough.aborted || made < plan.jobs) {
      if (enough.aborted || truth.unsent() < plan.backlog) await submit(made++)
      await rest(random.between(...plan.restMs), enough)
    }
  }

  async function retrySome(): Promise<void> {
    for (let left = plan.retries; left > 0 && !enough.aborted; left--) {
      await rest(random.between(...RETRY_MS), enough)
      const ended = (await ask(ENDED)).predictions.edges as { node: Ended }[]
      if (ended.length === 0) continue
      const { id, input } = random.pick(ended).node
      const retryOf = decodeIdOf('Prediction', id)
      const key = `retry ${left} of ${retryOf}`
      const promise = { key, marker: markerOf(input.prompt), retryOf }
      await place(desk.order(RETRY, { id, idempotencyKey: key }, promise), random.fork(key))
    }
  }

  await Promise.all([...Array.from({ length: plan.lines }, line), retrySome()])
  await Promise.all(later)
}

interface Ended {
  id: string
  input: { prompt: string }
}
