/**
 * What was measured, in words, and against the targets.
 */
import { figure } from '../table.ts'
import { LOOKS, type Scale } from './measure.ts'

const MIB = 1024 * 1024
const MOST_COST = 1.3
const MOST_LATE_MS = 50
/** A job in flight that is held in memory takes more. Two runs of the same differ by some 300. */
const MOST_BYTES = 1024

export function scaleTableOf({ few, many }: { few: Scale; many: Scale }): string {
  const cost = (what: string, value: (scale: Scale) => number, most?: number) => {
    const ratio = value(many) / value(few)
    return row(
      what,
      'ms of CPU',
      value,
      2,
      `${ratio.toFixed(2)}${most ? ` target ≤ ${verdict(ratio, most)}` : ''}`,
    )
  }
  const late = (what: string, value: (scale: Scale) => number) =>
    row(what, 'ms', value, 1, `target < ${verdict(value(many), MOST_LATE_MS)}`)
  const row = (
    what: string,
    unit: string,
    value: (scale: Scale) => number,
    digits: number,
    verdict = (value(many) / value(few)).toFixed(2),
  ) => [what, unit, figure(value(few), digits), figure(value(many), digits), verdict]

  const grown = (many.heap - few.heap) / (many.inFlight - few.inFlight)
  return aligned([
    ['jobs in flight', '', figure(few.inFlight), figure(many.inFlight), ''],
    cost('to make a job, inspect its image and send it', ({ send }) => send),
    cost('a look that brings nothing new', ({ look }) => look),
    cost('to see it at work, and then ended', ({ end }) => end),
    cost(`a job, of all that and ${LOOKS} looks`, ({ job }) => job, MOST_COST),
    late('event loop, p99: nothing but looks', ({ holding }) => holding),
    row('the same of a process that only waits', 'ms', ({ beside }) => beside.holding, 1, ''),
    late('event loop, p99: jobs come and go', ({ moving }) => moving),
    row('the same of a process that only waits', 'ms', ({ beside }) => beside.moving, 1, ''),
    row(
      'heap in use',
      'MiB',
      ({ heap }) => heap / MIB,
      1,
      `${figure(grown)} bytes more a job, target ≤ ${verdict(grown, MOST_BYTES)}`,
    ),
    row('resident memory', 'MiB', ({ rss }) => rss / MIB, 0),
    row('looks', 'a second', ({ looksPerSecond }) => looksPerSecond, 0, ''),
  ])
}

const verdict = (value: number, most: number) => `${most} ${value <= most ? 'met' : 'missed'}`

function aligned(rows: readonly string[][]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map(row => row[column]!.length)))
  const cell = (text: string, i: number) =>
    i === 2 || i === 3 ? text.padStart(widths[i]!) : text.padEnd(widths[i]!)
  return rows.map(row => row.map(cell).join('  ').trimEnd()).join('\n')
}
