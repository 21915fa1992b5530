/**
 * A run in a line.
 */
import type { Case } from './case.ts'
import type { Stage } from './stage.ts'
import { stayed } from './unknown.ts'

/** Of the gateway's log. */
const FOUND = 'a POST without an answer was found in the list'
const TOLD = 'a webhook says under which id it is known'

export function sumUp(all: Case, { upstream, victim, hasWebhooks }: Stage): string {
  const { rows, jobs, cancels } = all
  const { unknown, charged } = stayed(all)
  const faults = [...upstream.met].sort(([, a], [, b]) => b - a).map(([kind, count]) => `${count} ${kind}`)
  const said = (words: string) => victim.logs.join('').split(words).length - 1
  const retries = rows.filter(({ retryOf }) => retryOf !== null).length
  return [
    `${rows.length} predictions (${retries} retries, ${cancels.length} cancels), ${jobs.length} charged`,
    hasWebhooks ? 'webhooks' : 'no webhooks',
    `${victim.kills.length} kills`,
    `unknown: ${said(FOUND)} settled by list, ${said(TOLD)} by webhook, ${unknown} stayed, ${charged} of them charged`,
    `faults: ${faults.join(', ')}`,
  ].join(' · ')
}
