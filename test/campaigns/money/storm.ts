/**
 * Everything at once: apps that submit, cancel and retry, calls that go wrong, a gateway that is killed; then calm, until
 * all has ended.
 * Invariant: when it answers every request of an app is answered, and the gateway has ended as it was told to.
 */
import type { App } from '../../support/app.ts'
import type { Orders } from '../../support/campaign.ts'
import { rest } from '../../support/rest.ts'
import { until } from '../../support/until.ts'
import { createAsk } from './ask.ts'
import { axe } from './axe.ts'
import { beCustomer } from './customer.ts'
import { USAGE } from './documents.ts'
import type { Plan } from './plan.ts'
import { teach } from './school.ts'
import type { Stage } from './stage.ts'
import type { Upstream } from './upstream.ts'

const LOOK_MS = 100

/** Answers with the places in the concurrency that were not given back. */
export async function storm(stage: Stage, { plan, random, tell, interrupt }: Orders<Plan>): Promise<number> {
  const { upstream, victim, apps, school, truth, told } = stage
  const failed = new AbortController()
  const signal = AbortSignal.any([interrupt, failed.signal])
  const askAs = ({ name, key }: App) => createAsk(victim.url, key, random.fork(`asks of ${name}`), signal)
  const as = (app: App) => ({
    app: app.name,
    ask: askAs(app),
    image: upstream.simulator.sampleImage,
    plan,
    random: random.fork(app.name),
    told,
    truth,
  })

  async function rage(): Promise<void> {
    upstream.rage()
    const enough = new AbortController()
    const struck = (blow: string) => tell(`${blow} and a new start, ${upstream.posts.length} POSTs so far`)
    const axed = axe({ victim, upstream, plan, random: random.fork('axe'), signal, struck })
    const deadline = Date.now() + plan.mostMs
    const raged = axed
      .then(() => wait(() => wrongs(upstream) >= plan.wrongs, deadline - Date.now()))
      .finally(() => enough.abort())
    const common = { enough: AbortSignal.any([signal, enough.signal]) }
    await Promise.all([raged, ...apps.map(app => beCustomer({ ...as(app), ...common }))])
    await wait(() => truth.unsent() === 0, plan.lastingMs)
    upstream.calm()
  }

  async function wait(isOver: () => Promise<boolean> | boolean, ms: number): Promise<void> {
    await until(async () => {
      await rest(LOOK_MS, signal)
      return signal.aborted || (await isOver())
    }, ms).catch(() => {})
  }

  const asks = [...apps, school].map(askAs)
  async function taken(): Promise<number> {
    const usages = await Promise.all(asks.map(ask => ask(USAGE)))
    return usages.reduce((sum, { viewer: { usage } }) => sum + usage.inFlight + usage.queued, 0)
  }

  async function run(): Promise<number> {
    await teach({ ...as(school), signal })
    victim.kill()
    await victim.revive()
    tell(`${upstream.posts.length} jobs went before; now it begins`)
    await rage()
    tell(`calm: ${truth.unfinished()} have not ended, ${truth.unsent()} are not sent`)
    await wait(() => truth.unfinished() === 0, plan.settleMs)
    await wait(async () => (await taken()) === 0, plan.settleMs)
    signal.throwIfAborted()
    const kept = await taken()
    await victim.end()
    return kept
  }

  const over = new AbortController()
  const guarded = guard(stage, over.signal, failed)
  try {
    return await run()
  } catch (error) {
    failed.abort(error)
    throw failed.signal.reason
  } finally {
    over.abort()
    await guarded
  }
}

/** Submits that met a fault. */
const wrongs = ({ posts }: Upstream): number => posts.filter(({ kind }) => kind !== null).length

/** What must never be ends the run at once: nobody would answer any more. */
async function guard({ victim, told }: Stage, over: AbortSignal, failed: AbortController): Promise<void> {
  const wrong = () => victim.wrong ?? told.wrong
  while (!over.aborted && wrong() === null) await rest(20, over)
  if (!over.aborted) failed.abort(new Error(wrong()!))
}
