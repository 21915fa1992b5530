/**
 * The breaches of a run: immediate ones, differences between clients and the event log, and too few faults.
 */

import { findMismatch } from './compare-history.ts'
import type { FaultPhaseResult } from './fault-phase.ts'
import { type Plan, totalRestarts } from './plan.ts'
import type { Scenario } from './scenario.ts'

/** Breaches at any time: a gap, an error, an early end, a crash. */
export const immediateBreaches = ({ gateway, pool }: Scenario): string[] =>
  [gateway.breach, ...pool.subscribers.map(({ history }) => history.breach)].filter(breach => breach !== null)

/** All breaches as text. Sequences are compared only if there is no immediate breach. */
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

/** Every client was cut during recovery and had time to reconnect. */
const notCaughtUp = ({ pool }: Scenario): string[] =>
  pool.subscribers
    .filter(({ history }) => !history.isCaughtUp)
    .map(({ history }) => `${history.name} has not caught up`)

/** A job is stored once, however often it was sent. */
const jobCountMismatches = ({ database }: Scenario, { submittedJobs }: FaultPhaseResult): string[] =>
  [...submittedJobs]
    .map(([{ name }, count]) => ({ name, count, stored: database.countJobs(name) }))
    .filter(({ count, stored }) => count !== stored)
    .map(({ name, count, stored }) => `${name} sent ${count} jobs, and ${stored} are on disk`)

/** A run with too few faults proves nothing. */
function insufficientFaults({ pool, proxy }: Scenario, plan: Plan, { restarts }: FaultPhaseResult): string[] {
  const counts: [string, number, number][] = [
    ['reconnects', pool.reconnects, plan.minReconnects],
    ['restarts', restarts, totalRestarts(plan)],
    ['chunks truncated', proxy.truncatedChunks, 1],
    ['events delivered live', pool.liveCount, 1],
    ['events replayed', pool.deliveredCount - pool.liveCount, 1],
  ]
  return counts
    .filter(([, count, min]) => count < min)
    .map(([title, count, min]) => `too few ${title}: ${count}, planned at least ${min}`)
}

export function summarize({ pool, proxy, apps, database }: Scenario, { restarts }: FaultPhaseResult): string {
  const events = apps.reduce((sum, { name }) => sum + database.events(name).length, 0)
  const live = Math.round((100 * pool.liveCount) / pool.deliveredCount)
  return [
    `${pool.subscribers.length} clients`,
    `${pool.reconnects} reconnects`,
    `${proxy.truncatedChunks} chunks truncated`,
    `${restarts} restarts`,
    `${events} events, delivered ${pool.deliveredCount} times, ${live} % live`,
  ].join(' · ')
}
