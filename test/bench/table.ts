/**
 * The results as tables.
 */
import { METRICS, type Metric, NAMES, type Results } from './results.ts'
import type { StalledResult } from './stalled-clients.ts'

const MIB = 1024 * 1024

export const formatResultsTable = (results: Results): string => formatComparison(results, METRICS, 'bare ws')

/** @param bare name of the bare server */
export function formatComparison<Measured extends string>(
  results: Results<Measured>,
  metrics: Readonly<Record<Measured, Metric>>,
  bare: string,
): string {
  const head = ['', '', bare, 'stock', 'this gateway', `to ${bare}`, 'to stock']
  const rows = (Object.keys(metrics) as Measured[]).map(name => {
    const metric = metrics[name]
    const values = NAMES.map(server => formatNumber(results.median(name, server), metric.digits))
    const ratios = (['bare', 'stock'] as const).map(to =>
      formatRatio(results.ratio(name, to), metric.max?.[to], metric.min?.[to]),
    )
    return [metric.label, metric.unit, ...values, ...ratios]
  })
  return aligned([head, ...rows], [2, 3, 4])
}

export function formatStalledTable(runs: readonly StalledResult[]): string {
  const head = ['beside one live client', 'events', 'memory at the end', 'at its highest', 'not ended']
  const rows = runs.map(({ stalled, events, residentGrowth, peakGrowth, stillConnected }) => [
    stalled === 0 ? 'none (growth is the event log itself, in memory)' : `${stalled} that stopped reading`,
    formatNumber(events),
    `+${formatNumber(residentGrowth / MIB)} MiB`,
    `+${formatNumber(peakGrowth / MIB)} MiB`,
    formatNumber(stillConnected),
  ])
  return aligned([head, ...rows], [1, 2, 3, 4])
}

export const formatNumber = (value: number, digits = 0): string =>
  value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits })

function formatRatio(ratio: ReturnType<Results['ratio']>, max?: number, min?: number): string {
  const { median } = ratio
  const text = `${median.toFixed(2)} (${ratio.min.toFixed(2)}–${ratio.max.toFixed(2)})`
  const judge = (sign: string, target: number, isMet: boolean) =>
    `${text} target ${sign} ${target.toFixed(2)} ${isMet ? 'met' : 'missed'}`
  if (max !== undefined) return judge('≤', max, median <= max)
  if (min !== undefined) return judge('≥', min, median >= min)
  return text
}

/** @param numbers columns that are aligned right */
export function aligned(rows: readonly string[][], numbers: readonly number[]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map(row => row[column]!.length)))
  const line = (row: string[]) =>
    row.map((cell, i) => (numbers.includes(i) ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)))
  return rows.map(row => line(row).join('  ').trimEnd()).join('\n')
}
