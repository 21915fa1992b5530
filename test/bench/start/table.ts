/**
 * What was measured, in words, and against the targets.
 */
import { formatNumber } from '../table.ts'
import type { StartResults, StartSamples } from './measure.ts'

const MB = 1_000_000
const MAX_READY_MS = 1000
const MAX_RESIDENT_MB = 120

export function formatStartTable({ predictions, events, bare, ...started }: StartResults): string {
  const reference = median(bare)
  const row = (what: string, { ready, resident }: StartSamples) => [
    what,
    formatNumber(median(ready)),
    formatNumber(Math.max(...ready)),
    formatNumber(median(ready) / reference, 1),
    formatNumber(resident / MB),
    formatVerdict(median(ready) < MAX_READY_MS, resident / MB < MAX_RESIDENT_MB),
  ]
  const head = ['from the start of its process', 'ms to ready', 'longest', 'bare Node', 'MB when idle', '']
  return aligned([
    head,
    row('on an empty database', started.empty),
    row(`on ${formatNumber(predictions)} predictions, ${formatNumber(events)} events`, started.many),
    row('on the simulator, empty', started.simulator),
    row('with nothing compiled beforehand, empty', started.first),
    ['Node that does nothing', formatNumber(reference), formatNumber(Math.max(...bare)), '1.0', '', ''],
  ])
}

const formatVerdict = (isSoon: boolean, isSmall: boolean) =>
  `target < ${formatNumber(MAX_READY_MS)} ms ${isSoon ? 'met' : 'missed'}, < ${MAX_RESIDENT_MB} MB ${isSmall ? 'met' : 'missed'}`

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!

function aligned(rows: readonly string[][]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map(row => row[column]!.length)))
  const cell = (text: string, i: number) =>
    i > 0 && i < 5 ? text.padStart(widths[i]!) : text.padEnd(widths[i]!)
  return rows.map(row => row.map(cell).join('  ').trimEnd()).join('\n')
}
