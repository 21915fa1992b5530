/**
 * The results of the scale part, as a table with the targets.
 */
import { aligned, formatNumber } from '../table.ts'
import { POLLS_PER_JOB, type ScaleResult } from './measure.ts'

const MIB = 1024 * 1024
const MAX_COST_RATIO = 1.3
const MAX_DELAY_MS = 50
/** A job that was held in memory would take more. Two runs of one size differ by about 300 bytes. */
const MAX_BYTES_PER_JOB = 1024

export function formatScaleTable({ few, many }: { few: ScaleResult; many: ScaleResult }): string {
  const costRow = (title: string, value: (scale: ScaleResult) => number, max?: number) => {
    const ratio = value(many) / value(few)
    return row(
      title,
      'ms of CPU',
      value,
      2,
      `${ratio.toFixed(2)}${max ? ` target ≤ ${formatVerdict(ratio, max)}` : ''}`,
    )
  }
  const delayRow = (title: string, value: (scale: ScaleResult) => number) =>
    row(title, 'ms', value, 1, `target < ${formatVerdict(value(many), MAX_DELAY_MS)}`)
  const row = (
    title: string,
    unit: string,
    value: (scale: ScaleResult) => number,
    digits: number,
    remark = (value(many) / value(few)).toFixed(2),
  ) => [title, unit, formatNumber(value(few), digits), formatNumber(value(many), digits), remark]

  const bytesPerJob = (many.heap - few.heap) / (many.inFlight - few.inFlight)
  const rows = [
    ['jobs in flight', '', formatNumber(few.inFlight), formatNumber(many.inFlight), ''],
    costRow('to create a job, check its image and submit it', ({ send }) => send),
    costRow('a poll without a change', ({ poll }) => poll),
    costRow('a job’s changes to PROCESSING and FAILED', ({ end }) => end),
    costRow(`a job, of all that and ${POLLS_PER_JOB} polls`, ({ job }) => job, MAX_COST_RATIO),
    delayRow('event loop, p99: only polls', ({ steadyDelay }) => steadyDelay),
    row('the same of a process that only waits', 'ms', ({ referenceDelay }) => referenceDelay.steady, 1, ''),
    delayRow('event loop, p99: jobs are submitted and end', ({ busyDelay }) => busyDelay),
    row('the same of a process that only waits', 'ms', ({ referenceDelay }) => referenceDelay.busy, 1, ''),
    row(
      'heap in use',
      'MiB',
      ({ heap }) => heap / MIB,
      1,
      `${formatNumber(bytesPerJob)} bytes more a job, target ≤ ${formatVerdict(bytesPerJob, MAX_BYTES_PER_JOB)}`,
    ),
    row('resident memory', 'MiB', ({ rss }) => rss / MIB, 0),
    row('polls', 'a second', ({ pollsPerSecond }) => pollsPerSecond, 0, ''),
  ]
  return aligned(rows, [2, 3])
}

const formatVerdict = (value: number, max: number) => `${max} ${value <= max ? 'met' : 'missed'}`
