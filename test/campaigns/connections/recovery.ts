/**
 * Recovery after the fault phase: waits until every job has ended and every client has the last event, then cuts
 * every client once more, so that a duplicate on reconnect shows.
 * Invariant: this only waits; compare-history.ts judges.
 */
import { until } from '../../support/until.ts'
import type { Scenario } from './scenario.ts'
import type { Subscriber } from './subscriber-pool.ts'

const RECOVERY_TIMEOUT_MS = 20_000

export async function awaitRecovery({ proxy, pool: { subscribers }, database }: Scenario): Promise<void> {
  await until(() => database.countUnfinished() === 0, RECOVERY_TIMEOUT_MS)

  const lastEvents = subscribers.map(({ app, filter }) => database.events(app.name, filter).at(-1))
  const hasLastEvent = ({ history: { events } }: Subscriber, i: number) =>
    events.at(-1)?.id === lastEvents[i]?.id && events.at(-1)?.status === lastEvents[i]?.status
  await until(() => subscribers.every(hasLastEvent), RECOVERY_TIMEOUT_MS).catch(() => {})

  const connectionsBefore = subscribers.map(({ history }) => history.connectionCount)
  for (const connection of proxy.connections) connection.reset()
  const hasReconnected = ({ history }: Subscriber, i: number) =>
    history.connectionCount > connectionsBefore[i]! && history.isCaughtUp
  await until(() => subscribers.every(hasReconnected), RECOVERY_TIMEOUT_MS).catch(() => {})
}
