/**
 * Everything a run needs, made in order and ended in the opposite one: the gateway, the network before it, two apps, and
 * the clients that are there from the start.
 * Invariant: when it is ready every client has a place. One that is cut before begins at the head again, and rightly hears
 * nothing of what came between.
 */

import type { Random } from '../../../src/simulator/seeded-random.ts'
import type { App } from '../../support/app.ts'
import { emptyFolder } from '../../support/process.ts'
import { until } from '../../support/until.ts'
import { type Crowd, createCrowd } from './crowd.ts'
import { createLog, type Log } from './log.ts'
import { createNetwork, type Network } from './network.ts'
import type { Plan } from './plan.ts'
import { createVictim, type Victim } from './victim.ts'

export interface Stage extends AsyncDisposable {
  victim: Victim
  network: Network
  /** Of the GraphQL endpoint, through the network. */
  url: string
  /** The first is most clients'; the other's events must reach its own alone. */
  apps: readonly [App, App]
  crowd: Crowd
  log: Log
}

/** Of the early clients so many, the last, are of the other app. */
const STRANGERS = 2

export async function createStage({ early }: Plan, random: Random): Promise<Stage> {
  await using made = new AsyncDisposableStack()
  const folder = made.use(await emptyFolder())
  const victim = made.use(await createVictim(folder.path, random.fork('victim')))
  const network = made.use(await createNetwork())
  network.aim(victim.port)
  const url = `${network.url}/graphql`
  const apps = [victim.demo, await victim.createApp('stranger')] as const
  const crowd = made.use(createCrowd(url, random.fork('crowd')))
  for (const [i, over] of early.entries()) crowd.join(over, apps[i < early.length - STRANGERS ? 0 : 1])
  await until(() => crowd.members.every(({ diary }) => diary.begin !== null))

  const all = made.move()
  return {
    victim,
    network,
    url,
    apps,
    crowd,
    log: createLog(victim.database),
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  }
}
