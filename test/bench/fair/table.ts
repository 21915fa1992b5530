/**
 * How fairly slots were shared, as a table with the targets.
 */
import { formatNumber } from '../table.ts'
import { CASES, type FairnessCase, MEAN_JOB_MS } from './cases.ts'
import { type FairnessOutcome, simulate } from './simulate.ts'

const MIN_JAIN_INDEX = 0.99
const MAX_DEVIATION = 0.05

export async function fairTable(): Promise<string> {
  const rows = []
  for (const fairnessCase of CASES) rows.push(formatRow(fairnessCase, await simulate(fairnessCase)))
  const head = [
    'apps by weight',
    'slots',
    'Jain’s index',
    'max deviation from its weight',
    'longest without a slot',
    'overtakes of a single job',
  ]
  return `${[head, head.map(() => '---'), ...rows].map(cells => `| ${cells.join(' | ')} |`).join('\n')}

Simulated time, jobs of two minutes ± a third unless it says otherwise; shares are of time in the account's slots, of the apps that always have more to do.
Jain's index is of those of one weight, target ≥ ${MIN_JAIN_INDEX}; shares within ${MAX_DEVIATION * 100} %. Longest without a slot: an app had jobs waiting and none in flight, in jobs of mean length.`
}

function formatRow(
  { name, slots, apps }: FairnessCase,
  { slotMs, maxWithoutSlotMs, maxOvertakes }: FairnessOutcome,
): string[] {
  const steadyApps = apps.flatMap(({ weight, arrivals }, i) =>
    arrivals ? [] : [{ weight, slotMs: slotMs[i]! }],
  )
  const sumOf = (pick: (app: { weight: number; slotMs: number }) => number) =>
    steadyApps.reduce((sum, app) => sum + pick(app), 0)
  const deviations = steadyApps.map(app =>
    Math.abs(app.slotMs / app.weight / (sumOf(({ slotMs }) => slotMs) / sumOf(({ weight }) => weight)) - 1),
  )
  const equalWeightGroups = Object.values(Object.groupBy(steadyApps, ({ weight }) => weight)).filter(
    group => group!.length > 1,
  )
  const minJain = Math.min(...equalWeightGroups.map(group => jainIndex(group!.map(({ slotMs }) => slotMs))))
  return [
    name,
    String(slots),
    equalWeightGroups.length > 0 ? `${minJain.toFixed(4)} ${formatVerdict(minJain >= MIN_JAIN_INDEX)}` : '',
    steadyApps.length > 1
      ? `${(100 * Math.max(...deviations)).toFixed(1)} % ${formatVerdict(Math.max(...deviations) <= MAX_DEVIATION)}`
      : '',
    `${formatNumber(maxWithoutSlotMs / MEAN_JOB_MS, 1)} jobs`,
    apps.some(({ arrivals }) => arrivals?.jobs === 1)
      ? `${maxOvertakes}, target ≤ ${slots} ${formatVerdict(maxOvertakes <= slots)}`
      : '',
  ]
}

/** 1: all have the same; 1/n: one of n has everything. */
const jainIndex = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) ** 2 /
  (values.length * values.reduce((sum, value) => sum + value ** 2, 0))

const formatVerdict = (isMet: boolean) => (isMet ? 'met' : 'missed')
