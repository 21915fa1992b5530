/**
 * Everything a run needs, created in order and disposed in reverse: gateway, proxy, two apps, initial subscribers.
 * Invariant: when it is ready every subscriber has a cursor. A subscriber that is cut before that starts at the head
 * again and rightly misses events.
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
  /** URL of the GraphQL endpoint, through the proxy. */
  url: string
  /** Most subscribers belong to the first app. The other app's events must reach only its own subscribers. */
  apps: readonly [App, App]
  pool: SubscriberPool
  database: GatewayDatabase
}

/** The last initial subscribers belong to the other app. */
const OTHER_APP_SUBSCRIBERS = 2

export async function createScenario({ initialTransports }: Plan, random: SeededRandom): Promise<Scenario> {
  await using resources = new AsyncDisposableStack()
  const folder = resources.use(await emptyFolder())
  const gateway = resources.use(await startGatewayProcess(folder.path, random.fork('gateway')))
  const proxy = resources.use(await createFaultProxy())
  proxy.setTarget(gateway.port)
  const url = `${proxy.url}/graphql`
  const apps = [gateway.demoApp, await gateway.createApp('other')] as const
  const pool = resources.use(createSubscriberPool(url, random.fork('subscribers')))
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
