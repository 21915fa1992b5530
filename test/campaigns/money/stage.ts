/**
 * Everything a run needs, made in order and ended in the opposite one: the apps, upstream, the gateway.
 */
import { join } from 'node:path'
import type { Random } from '../../../src/simulator/seeded-random.ts'
import { type App, createApp } from '../../support/app.ts'
import { freePort } from '../../support/port.ts'
import { emptyFolder } from '../../support/process.ts'
import type { Plan } from './plan.ts'
import { settings, weights } from './settings.ts'
import { createTold, type Told } from './told.ts'
import { createTruth, type Truth } from './truth.ts'
import { createUpstream, type Upstream } from './upstream.ts'
import { createVictim, type Victim } from './victim.ts'

export interface Stage extends AsyncDisposable {
  upstream: Upstream
  victim: Victim
  apps: readonly App[]
  /** The app whose jobs come before the storm. */
  school: App
  hasWebhooks: boolean
  truth: Truth
  told: Told
}

const WITH_WEBHOOKS = 3 / 4

export async function createStage(plan: Plan, random: Random): Promise<Stage> {
  await using made = new AsyncDisposableStack()
  const folder = made.use(await emptyFolder())
  const database = join(folder.path, 'rushes.db')
  const apps = [await createApp(database, 'one'), await createApp(database, 'other')]
  const school = await createApp(database, 'school')
  const upstream = made.use(await createUpstream(folder.path, plan, random.fork('upstream'), weights))
  const port = await freePort(random.fork('port'))
  const hasWebhooks = random.fork('webhooks').chance(WITH_WEBHOOKS)
  const place = { port, database, upstream: upstream.simulator.origin, hasWebhooks }
  const victim = made.use(await createVictim(folder.path, settings(place, plan)))

  const all = made.move()
  return {
    upstream,
    victim,
    apps,
    school,
    hasWebhooks,
    truth: createTruth(database),
    told: createTold(),
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  }
}
