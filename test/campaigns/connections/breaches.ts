/**
 * What a run has shown: what must never be, what each client was told against the log, and whether it was a storm at all.
 */

import { findMismatch } from './compare-history.ts'
import type { FaultPhaseResult } from './fault-phase.ts'
import { type Plan, totalRestarts } from './plan.ts'
import type { Scenario } from './scenario.ts'

/** What nobody may do at any time: a gap, an error, an end, a crash. */
export const immediateBreaches = ({ gateway, pool }: Scenario): string[] =>
  [gateway.breach, ...pool.subscribers.map(({ history }) => history.breach)].filter(wrong => wrong !== null)

/** Everything that is not as promised, in words. Of sequences only if nothing worse is wrong. */
export function findBreaches(scenario: Scenario, plan: Plan, result: FaultPhaseResult): string[] {
  const immediate = immediateBreaches(scenario)
  return immediate.length > 0
    ? immediate
    : [
        ...historyMismatches(scenario),
        ...notCaughtUp(scenario),
        ...jobCountMismatches(scenario, result),
        ...insufficientFaults(scenario, plan, result),
      ]
}

const historyMismatches = ({ pool, database }: Scenario): string[] =>
  pool.subscribers
    .map(({ history, app, filter }) =>
      findMismatch(history.name, history.events, database.events(app.name, filter)),
    )
    .filter(mismatch => mismatch !== null)

/** Everyone was cut in the quiet, and has had time to come back. */
const notCaughtUp = ({ pool }: Scenario): string[] =>
  pool.subscribers
    .filter(({ history }) => !history.isCaughtUp)
    .map(({ history }) => `${history.name} has not caught up`)

/** However often a job was sent, it is one. */
const jobCountMismatches = ({ database }: Scenario, { submittedJobs }: FaultPhaseResult): string[] =>
  [...submittedJobs]
    .map(([{ name }, count]) => ({ name, count, stored: database.countJobs(name) }))
    .filter(({ count, stored }) => count !== stored)
    .map(({ name, count, stored }) => `${name} sent ${count} jobs, and ${stored} are on disk`)

/** A storm that was none proves nothing. */
function insufficientFaults({ pool, proxy }: Scenario, plan: Plan, { restarts }: FaultPhaseResult): string[] {
  const counts: [string, number, number][] = [
    ['reconnects', pool.reconnects, plan.minReconnects],
    ['restarts', restarts, totalRestarts(plan)],
    ['chunks torn', proxy.truncatedChunks, 1],
    ['events told live', pool.liveCount, 1],
    ['events replayed', pool.deliveredCount - pool.liveCount, 1],
  ]
  return counts
    .filter(([, count, min]) => count < min)
    .map(([what, count, min]) => `too few ${what}: ${count}, at least ${min} were planned`)
}

export function summarize({ pool, proxy, apps, database }: Scenario, { restarts }: FaultPhaseResult): string {
  const events = apps.reduce((sum, { name }) => sum + database.events(name).length, 0)
  const live = Math.round((100 * pool.liveCount) / pool.deliveredCount)
  return [
    `${pool.subscribers.length} clients`,
    `${pool.reconnects} reconnects`,
    `${proxy.truncatedChunks} chunks torn`,
    `${restarts} restarts`,
    `${events} events, told ${pool.deliveredCount} times, ${live} % live`,
  ].join(' · ')
}
