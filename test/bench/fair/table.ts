/**
 * How fairly places were shared, in words and against the targets.
 */
import { figure } from '../table.ts'
import { CASES, type Case, MEAN_MS } from './cases.ts'
import { type Outcome, simulate } from './simulate.ts'

const LEAST_JAIN = 0.99
const MOST_OFF = 0.05

export async function fairTable(): Promise<string> {
  const rows = []
  for (const one of CASES) rows.push(rowOf(one, await simulate(one)))
  const head = [
    'apps by weight',
    'places',
    'Jain’s index',
    'furthest share from its weight',
    'longest without a place',
    'given before a single job',
  ]
  return `${[head, head.map(() => '---'), ...rows].map(cells => `| ${cells.join(' | ')} |`).join('\n')}

Simulated time, jobs of two minutes ± a third unless it says otherwise; shares are of time in the account's places, of the apps that always have more to do.
Jain's index is of those of one weight, target ≥ ${LEAST_JAIN}; shares within ${MOST_OFF * 100} %. Longest without a place: an app had jobs waiting and none in flight, in jobs of mean length.`
}

function rowOf({ name, places, apps }: Case, { had, longestWithout, mostBefore }: Outcome): string[] {
  const steady = apps.flatMap(({ weight, comes }, i) => (comes ? [] : [{ weight, had: had[i]! }]))
  const sums = (of: (one: { weight: number; had: number }) => number) =>
    steady.reduce((sum, one) => sum + of(one), 0)
  const off = steady.map(one =>
    Math.abs(one.had / one.weight / (sums(({ had }) => had) / sums(({ weight }) => weight)) - 1),
  )
  const equals = Object.values(Object.groupBy(steady, ({ weight }) => weight)).filter(
    group => group!.length > 1,
  )
  const jain = Math.min(...equals.map(group => jainOf(group!.map(({ had }) => had))))
  return [
    name,
    String(places),
    equals.length > 0 ? `${jain.toFixed(4)} ${verdict(jain >= LEAST_JAIN)}` : '',
    steady.length > 1
      ? `${(100 * Math.max(...off)).toFixed(1)} % ${verdict(Math.max(...off) <= MOST_OFF)}`
      : '',
    `${figure(longestWithout / MEAN_MS, 1)} jobs`,
    apps.some(({ comes }) => comes?.jobs === 1)
      ? `${mostBefore}, target ≤ ${places} ${verdict(mostBefore <= places)}`
      : '',
  ]
}

/** 1: all have the same; 1/n: one has it all. */
const jainOf = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) ** 2 /
  (values.length * values.reduce((sum, value) => sum + value ** 2, 0))

const verdict = (isMet: boolean) => (isMet ? 'met' : 'missed')
