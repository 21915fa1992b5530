/**
 * Everything a run needs, made in order and ended in the opposite one: the gateway, the network before it, two apps, and
 * the clients that are there from the start.
 * Invariant: when it is ready every client has a place. One that is cut before begins at the head again, and rightly hears
 * nothing of what came between.
 */

import type { SeededRandom } from '../../../src/simulator/seeded-random.ts'
import type { App } from '../../support/app.ts'
import { emptyFolder } from '../../support/process.ts'
import { until } from '../../support/until.ts'
import { createFaultProxy, type FaultProxy } from './fault-proxy.ts'
import { createGatewayDatabase, type GatewayDatabase } from './gateway-database.ts'
import { type GatewayProcess, startGatewayProcess } from './gateway-process.ts'
import type { Plan } from './plan.ts'
import { createSubscriberPool, type SubscriberPool } from './subscriber-pool.ts'

export interface Scenario extends AsyncDisposable {
  gateway: GatewayProcess
  proxy: FaultProxy
  /** Of the GraphQL endpoint, through the network. */
  url: string
  /** The first is most clients'; the other's events must reach its own alone. */
  apps: readonly [App, App]
  pool: SubscriberPool
  database: GatewayDatabase
}

/** Of the early clients so many, the last, are of the other app. */
const OTHER_APP_SUBSCRIBERS = 2

export async function createScenario({ initialTransports }: Plan, random: SeededRandom): Promise<Scenario> {
  await using resources = new AsyncDisposableStack()
  const folder = resources.use(await emptyFolder())
  const gateway = resources.use(await startGatewayProcess(folder.path, random.fork('victim')))
  const proxy = resources.use(await createFaultProxy())
  proxy.setTarget(gateway.port)
  const url = `${proxy.url}/graphql`
  const apps = [gateway.demoApp, await gateway.createApp('stranger')] as const
  const pool = resources.use(createSubscriberPool(url, random.fork('crowd')))
  for (const [i, transport] of initialTransports.entries())
    pool.add(transport, apps[i < initialTransports.length - OTHER_APP_SUBSCRIBERS ? 0 : 1])
  await until(() => pool.subscribers.every(({ history }) => history.firstCursor !== null))

  const disposables = resources.move()
  return {
    gateway,
    proxy,
    url,
    apps,
    pool,
    database: createGatewayDatabase(gateway.databaseFile),
    [Symbol.asyncDispose]: () => disposables.disposeAsync(),
  }
}
