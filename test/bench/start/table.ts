/**
 * The results of the start part, as a table with the targets.
 */
import { median } from '../results.ts'
import { aligned, formatNumber } from '../table.ts'
import type { StartResults, StartSamples } from './measure.ts'

const MB = 1_000_000
const MAX_READY_MS = 1000
const MAX_RESIDENT_MB = 120

export function formatStartTable({ predictions, events, bare, ...started }: StartResults): string {
  const reference = median(bare)
  const row = (title: string, { ready, resident }: StartSamples) => [
    title,
    formatNumber(median(ready)),
    formatNumber(Math.max(...ready)),
    formatNumber(median(ready) / reference, 1),
    formatNumber(resident / MB),
    formatVerdict(median(ready) < MAX_READY_MS, resident / MB < MAX_RESIDENT_MB),
  ]
  const head = ['from the start of its process', 'ms to ready', 'slowest', 'bare Node', 'MB when idle', '']
  const rows = [
    head,
    row('on an empty database', started.empty),
    row(`on ${formatNumber(predictions)} predictions, ${formatNumber(events)} events`, started.many),
    row('on the simulator, empty', started.simulator),
    row('with nothing compiled beforehand, empty', started.first),
    ['Node that does nothing', formatNumber(reference), formatNumber(Math.max(...bare)), '1.0', '', ''],
  ]
  return aligned(rows, [1, 2, 3, 4])
}

const formatVerdict = (isFast: boolean, isSmall: boolean) =>
  `target < ${formatNumber(MAX_READY_MS)} ms ${isFast ? 'met' : 'missed'}, < ${MAX_RESIDENT_MB} MB ${isSmall ? 'met' : 'missed'}`
