/**
 * Everything a run needs, created in order and disposed in reverse: apps, upstream, gateway.
 */
import { join } from 'node:path'
import type { SeededRandom } from '../../../src/simulator/seeded-random.ts'
import { type App, createApp } from '../../support/app.ts'
import { freePort } from '../../support/port.ts'
import { emptyFolder } from '../../support/process.ts'
import { type AppHistory, createAppHistory } from './app-history.ts'
import { createFaultyUpstream, type FaultyUpstream } from './faulty-upstream.ts'
import { createGatewayDatabase, type GatewayDatabase } from './gateway-database.ts'
import { type GatewayProcess, startGatewayProcess } from './gateway-process.ts'
import { createSettings, FAULT_WEIGHTS } from './gateway-settings.ts'
import type { Plan } from './plan.ts'

export interface Scenario extends AsyncDisposable {
  upstream: FaultyUpstream
  gateway: GatewayProcess
  apps: readonly App[]
  /** The app of the warm-up jobs. */
  warmUpApp: App
  hasWebhooks: boolean
  database: GatewayDatabase
  history: AppHistory
}

const WEBHOOKS_CHANCE = 3 / 4

export async function createScenario(plan: Plan, random: SeededRandom): Promise<Scenario> {
  await using resources = new AsyncDisposableStack()
  const folder = resources.use(await emptyFolder())
  const databaseFile = join(folder.path, 'rushes.db')
  const apps = [await createApp(databaseFile, 'one'), await createApp(databaseFile, 'other')]
  const warmUpApp = await createApp(databaseFile, 'warmup')
  const upstream = resources.use(
    await createFaultyUpstream(folder.path, plan, random.fork('upstream'), FAULT_WEIGHTS),
  )
  const port = await freePort(random.fork('port'))
  const hasWebhooks = random.fork('webhooks').chance(WEBHOOKS_CHANCE)
  const location = { port, database: databaseFile, upstream: upstream.simulator.origin, hasWebhooks }
  const gateway = resources.use(await startGatewayProcess(folder.path, createSettings(location, plan)))

  const disposables = resources.move()
  return {
    upstream,
    gateway,
    apps,
    warmUpApp,
    hasWebhooks,
    database: createGatewayDatabase(databaseFile),
    history: createAppHistory(),
    [Symbol.asyncDispose]: () => disposables.disposeAsync(),
  }
}
