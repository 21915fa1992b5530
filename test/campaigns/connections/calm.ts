/**
 * After the storm: every job ends, every client is told the last event, and is cut once more in the quiet, so that what
 * a reconnect might tell twice has been told when it has caught up.
 * Invariant: this only waits. What is missing when it has waited long enough is the verdict's to say.
 */
import { until } from '../../support/until.ts'
import type { Member } from './crowd.ts'
import type { Stage } from './stage.ts'

const PATIENCE_MS = 20_000

export async function calm({ network, crowd: { members }, log }: Stage): Promise<void> {
  await until(() => log.unfinished() === 0, PATIENCE_MS)

  const last = members.map(({ app, filter }) => log.events(app.name, filter).at(-1))
  const hasLast = ({ diary: { told } }: Member, i: number) =>
    told.at(-1)?.id === last[i]?.id && told.at(-1)?.status === last[i]?.status
  await until(() => members.every(hasLast), PATIENCE_MS).catch(() => {})

  const before = members.map(({ diary }) => diary.connections)
  for (const link of network.links) link.cut()
  const isBack = ({ diary }: Member, i: number) => diary.connections > before[i]! && diary.isLive
  await until(() => members.every(isBack), PATIENCE_MS).catch(() => {})
}
