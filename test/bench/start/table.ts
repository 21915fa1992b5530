/**
 * What was measured, in words, and against the targets.
 */
import { figure } from '../table.ts'
import type { Started, Starts } from './measure.ts'

const MB = 1_000_000
const READY_MS = 1000
const RESIDENT_MB = 120

export function startTableOf({ predictions, events, bare, ...started }: Starts): string {
  const reference = median(bare)
  const row = (what: string, { ready, resident }: Started) => [
    what,
    figure(median(ready)),
    figure(Math.max(...ready)),
    figure(median(ready) / reference, 1),
    figure(resident / MB),
    verdict(median(ready) < READY_MS, resident / MB < RESIDENT_MB),
  ]
  const head = ['from the start of its process', 'ms to ready', 'longest', 'bare Node', 'MB when idle', '']
  return aligned([
    head,
    row('on an empty database', started.empty),
    row(`on ${figure(predictions)} predictions, ${figure(events)} events`, started.many),
    row('on the simulator, empty', started.simulator),
    row('with nothing compiled beforehand, empty', started.first),
    ['Node that does nothing', figure(reference), figure(Math.max(...bare)), '1.0', '', ''],
  ])
}

const verdict = (isSoon: boolean, isSmall: boolean) =>
  `target < ${figure(READY_MS)} ms ${isSoon ? 'met' : 'missed'}, < ${RESIDENT_MB} MB ${isSmall ? 'met' : 'missed'}`

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!

function aligned(rows: readonly string[][]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map(row => row[column]!.length)))
  const cell = (text: string, i: number) =>
    i > 0 && i < 5 ? text.padStart(widths[i]!) : text.padEnd(widths[i]!)
  return rows.map(row => row.map(cell).join('  ').trimEnd()).join('\n')
}
