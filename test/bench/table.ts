/**
 * The results in words.
 */
import { METRICS, type Metric, type MetricName, NAMES, type Results } from './results.ts'
import type { Stalled } from './stalled.ts'

const MIB = 1024 * 1024

export function tableOf(results: Results): string {
  const head = ['', '', 'bare ws', 'stock', 'this gateway', 'to bare ws', 'to stock']
  const rows = (Object.keys(METRICS) as MetricName[]).map(name => {
    const metric: Metric = METRICS[name]
    const values = NAMES.map(contender => figure(results.median(name, contender), metric.digits))
    const ratios = (['bare', 'stock'] as const).map(to => verdict(results.ratio(name, to), metric.most?.[to]))
    return [metric.label, metric.unit, ...values, ...ratios]
  })
  return aligned([head, ...rows], [2, 3, 4])
}

export function stalledTableOf(runs: readonly Stalled[]): string {
  const head = ['beside one live client', 'events', 'memory at the end', 'at its highest', 'not ended']
  const rows = runs.map(({ stalled, events, grown, highest, remained }) => [
    stalled === 0 ? 'nobody (what grows is the log itself, in memory)' : `${stalled} that stopped reading`,
    figure(events),
    `+${figure(grown / MIB)} MiB`,
    `+${figure(highest / MIB)} MiB`,
    figure(remained),
  ])
  return aligned([head, ...rows], [1, 2, 3, 4])
}

export const figure = (value: number, digits = 0): string =>
  value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits })

function verdict(ratio: ReturnType<Results['ratio']>, most: number | undefined): string {
  const { median, least, most: greatest } = ratio
  const text = `${median.toFixed(2)} (${least.toFixed(2)}–${greatest.toFixed(2)})`
  if (most === undefined) return text
  return `${text} target ≤ ${most.toFixed(2)} ${median <= most ? 'met' : 'missed'}`
}

/** @param numbers columns that stand to the right */
function aligned(rows: readonly string[][], numbers: readonly number[]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map(row => row[column]!.length)))
  const line = (row: string[]) =>
    row.map((cell, i) => (numbers.includes(i) ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)))
  return rows.map(row => line(row).join('  ').trimEnd()).join('\n')
}
