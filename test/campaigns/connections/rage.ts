/**
 * Everything at once: the storm, the axe, the jobs and the clients that come late; until there was enough of it.
 * Invariant: when it answers the gateway runs, the network is whole and every job sent is answered.
 */

import type { Random } from '../../../src/simulator/seeded-random.ts'
import type { App } from '../../support/app.ts'
import type { Orders } from '../../support/campaign.ts'
import { rest } from '../../support/rest.ts'
import { axe } from './axe.ts'
import { wrongs } from './findings.ts'
import { submitJobs } from './jobs.ts'
import { type Plan, restartsOf } from './plan.ts'
import type { Stage } from './stage.ts'
import { storm } from './storm.ts'

export interface Done {
  restarts: number
  /** Jobs, by app. */
  sent: ReadonlyMap<App, number>
}

export async function rage(stage: Stage, { plan, random, tell, interrupt }: Orders<Plan>): Promise<Done> {
  const { victim, network, url, crowd, apps } = stage
  const over = new AbortController()
  const { signal } = over
  const sent = new Map<App, number>()
  let restarts = 0

  async function work(app: App): Promise<void> {
    sent.set(app, await submitJobs(url, app.key, victim.image, random.fork(`jobs of ${app.name}`), signal))
  }

  async function joinLate(random: Random): Promise<void> {
    for (const transport of plan.late) {
      await rest(random.between(...plan.lateMs), signal)
      crowd.join(transport, apps[0], crowd.members[0]!.diary.begin!)
    }
  }

  function struck(blow: string): void {
    restarts++
    tell(`${blow} and a new start, ${crowd.reconnects} reconnects`)
  }

  async function watchTheClock(): Promise<void> {
    const deadline = Date.now() + plan.mostMs
    const isEnough = () => crowd.reconnects >= plan.reconnects && restarts === restartsOf(plan)
    const isOver = () => interrupt.aborted || wrongs(stage).length > 0 || Date.now() > deadline
    while (!isEnough() && !isOver()) await rest(20, signal)
    over.abort()
  }

  const all = [
    ...apps.map(work),
    joinLate(random.fork('late')),
    storm({ network, crowd, random: random.fork('storm'), plan, signal }),
    axe({ ...stage, random: random.fork('axe'), plan, signal, struck }),
    watchTheClock(),
  ]
  // One that fails ends the others; what is thrown is its error.
  await Promise.all(all).finally(async () => {
    over.abort()
    await Promise.allSettled(all)
  })
  return { restarts, sent }
}
