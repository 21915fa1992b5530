/**
 * What was measured, in words, and against the targets.
 */
import { formatNumber } from '../table.ts'
import { POLLS_PER_JOB, type ScaleResult } from './measure.ts'

const MIB = 1024 * 1024
const MAX_COST_RATIO = 1.3
const MAX_DELAY_MS = 50
/** A job in flight that is held in memory takes more. Two runs of the same differ by some 300. */
const MAX_BYTES_PER_JOB = 1024

export function formatScaleTable({ few, many }: { few: ScaleResult; many: ScaleResult }): string {
  const costRow = (what: string, value: (scale: ScaleResult) => number, max?: number) => {
    const ratio = value(many) / value(few)
    return row(
      what,
      'ms of CPU',
      value,
      2,
      `${ratio.toFixed(2)}${max ? ` target ≤ ${formatVerdict(ratio, max)}` : ''}`,
    )
  }
  const delayRow = (what: string, value: (scale: ScaleResult) => number) =>
    row(what, 'ms', value, 1, `target < ${formatVerdict(value(many), MAX_DELAY_MS)}`)
  const row = (
    what: string,
    unit: string,
    value: (scale: ScaleResult) => number,
    digits: number,
    remark = (value(many) / value(few)).toFixed(2),
  ) => [what, unit, formatNumber(value(few), digits), formatNumber(value(many), digits), remark]

  const bytesPerJob = (many.heap - few.heap) / (many.inFlight - few.inFlight)
  return aligned([
    ['jobs in flight', '', formatNumber(few.inFlight), formatNumber(many.inFlight), ''],
    costRow('to make a job, inspect its image and send it', ({ send }) => send),
    costRow('a look that brings nothing new', ({ poll }) => poll),
    costRow('to see it at work, and then ended', ({ end }) => end),
    costRow(`a job, of all that and ${POLLS_PER_JOB} looks`, ({ job }) => job, MAX_COST_RATIO),
    delayRow('event loop, p99: nothing but looks', ({ steadyDelay }) => steadyDelay),
    row('the same of a process that only waits', 'ms', ({ referenceDelay }) => referenceDelay.steady, 1, ''),
    delayRow('event loop, p99: jobs come and go', ({ busyDelay }) => busyDelay),
    row('the same of a process that only waits', 'ms', ({ referenceDelay }) => referenceDelay.busy, 1, ''),
    row(
      'heap in use',
      'MiB',
      ({ heap }) => heap / MIB,
      1,
      `${formatNumber(bytesPerJob)} bytes more a job, target ≤ ${formatVerdict(bytesPerJob, MAX_BYTES_PER_JOB)}`,
    ),
    row('resident memory', 'MiB', ({ rss }) => rss / MIB, 0),
    row('looks', 'a second', ({ pollsPerSecond }) => pollsPerSecond, 0, ''),
  ])
}

const formatVerdict = (value: number, max: number) => `${max} ${value <= max ? 'met' : 'missed'}`

function aligned(rows: readonly string[][]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map(row => row[column]!.length)))
  const cell = (text: string, i: number) =>
    i === 2 || i === 3 ? text.padStart(widths[i]!) : text.padEnd(widths[i]!)
  return rows.map(row => row.map(cell).join('  ').trimEnd()).join('\n')
}
