/**
 * The summary of a run, in one line.
 */
import type { Evidence } from './evidence.ts'
import type { Scenario } from './scenario.ts'
import { countUnresolved } from './unknown-submits.ts'

/** Messages of the gateway's log, word for word. */
export const FOUND_IN_LIST_MESSAGE = 'a POST without an answer was found in the list'
export const CONFIRMED_BY_WEBHOOK_MESSAGE = 'a webhook says under which id it is known'

export function summarize(evidence: Evidence, { upstream, gateway, hasWebhooks }: Scenario): string {
  const { rows, jobs, cancels } = evidence
  const { unknown, charged } = countUnresolved(evidence)
  const faults = [...upstream.faultCounts]
    .sort(([, a], [, b]) => b - a)
    .map(([kind, count]) => `${count} ${kind}`)
  const countLogLines = (message: string) => gateway.logs.join('').split(message).length - 1
  const retries = rows.filter(({ retryOf }) => retryOf !== null).length
  return [
    `${rows.length} predictions (${retries} retries, ${cancels.length} cancels), ${jobs.length} charged`,
    hasWebhooks ? 'webhooks' : 'no webhooks',
    `${gateway.killTimes.length} kills`,
    `unknown: ${countLogLines(FOUND_IN_LIST_MESSAGE)} resolved by list, ${countLogLines(CONFIRMED_BY_WEBHOOK_MESSAGE)} by webhook, ${unknown} stayed, ${charged} of them charged`,
    `faults: ${faults.join(', ')}`,
  ].join(' · ')
}
