/**
 * The results in words.
 */
import { METRICS, type Metric, NAMES, type Results } from './results.ts'
import type { Stalled } from './stalled.ts'

const MIB = 1024 * 1024

export const tableOf = (results: Results): string => comparisonOf(results, METRICS, 'bare ws')

/** @param bare what that one is */
export function comparisonOf<Measured extends string>(
  results: Results<Measured>,
  metrics: Readonly<Record<Measured, Metric>>,
  bare: string,
): string {
  const head = ['', '', bare, 'stock', 'this gateway', `to ${bare}`, 'to stock']
  const rows = (Object.keys(metrics) as Measured[]).map(name => {
    const metric = metrics[name]
    const values = NAMES.map(contender => figure(results.median(name, contender), metric.digits))
    const ratios = (['bare', 'stock'] as const).map(to =>
      verdict(results.ratio(name, to), metric.most?.[to], metric.least?.[to]),
    )
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

function verdict(ratio: ReturnType<Results['ratio']>, most?: number, least?: number): string {
  const { median } = ratio
  const text = `${median.toFixed(2)} (${ratio.least.toFixed(2)}–${ratio.most.toFixed(2)})`
  const judged = (sign: string, target: number, isMet: boolean) =>
    `${text} target ${sign} ${target.toFixed(2)} ${isMet ? 'met' : 'missed'}`
  if (most !== undefined) return judged('≤', most, median <= most)
  if (least !== undefined) return judged('≥', least, median >= least)
  return text
}

/** @param numbers columns that stand to the right */
export function aligned(rows: readonly string[][], numbers: readonly number[]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map(row => row[column]!.length)))
  const line = (row: string[]) =>
    row.map((cell, i) => (numbers.includes(i) ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)))
  return rows.map(row => line(row).join('  ').trimEnd()).join('\n')
}
