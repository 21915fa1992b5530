/**
 * Metrics with their targets, and samples. Samples of one index were taken one right after the other, so ratios are
 * of samples and not of medians: what slows the machine down for a while slows all three.
 */
import type { ServerName } from './server/main.ts'

export const NAMES = ['bare', 'stock', 'ours'] as const satisfies ServerName[]

type TargetRatios = { bare?: number; stock?: number }

export interface Metric {
  label: string
  unit: string
  digits: number
  /** Max and min of our value as a multiple of theirs. */
  max?: TargetRatios
  min?: TargetRatios
}

const CPU = { unit: 'µs', digits: 1, max: { bare: 1.25, stock: 1 / 5 } }

export const METRICS = {
  cpuSingle: { label: 'server CPU a message, 1 event a turn', ...CPU },
  cpuBurst: { label: 'server CPU a message, 10 events a turn', ...CPU },
  rateSingle: { label: 'messages a second, 1 event a turn', unit: '/s', digits: 0 },
  rateBurst: { label: 'messages a second, 10 events a turn', unit: '/s', digits: 0 },
  first: { label: 'one event, first of the audience', unit: 'ms', digits: 1, max: { stock: 1 / 20 } },
  last: { label: 'one event, last of the audience', unit: 'ms', digits: 1 },
  rss: { label: 'memory a connection, resident', unit: 'KiB', digits: 1, max: { bare: 1.5 } },
  heap: { label: 'memory a connection, heap', unit: 'KiB', digits: 1 },
} satisfies Record<string, Metric>
export type MetricName = keyof typeof METRICS

export interface Results<Measured = MetricName> {
  add(metric: Measured, name: ServerName, value: number): void
  median(metric: Measured, name: ServerName): number
  /** Our value divided by theirs. */
  ratio(metric: Measured, to: ServerName): { median: number; min: number; max: number }
}

export function createResults<Measured extends string = MetricName>(): Results<Measured> {
  const samples = new Map<string, number[]>()
  const samplesOf = (metric: Measured, name: ServerName): number[] => {
    const key = `${metric} ${name}`
    const values = samples.get(key) ?? []
    samples.set(key, values)
    return values
  }
  return {
    add: (metric, name, value) => void samplesOf(metric, name).push(value),
    median: (metric, name) => median(samplesOf(metric, name)),
    ratio(metric, to) {
      const theirs = samplesOf(metric, to)
      const ratios = samplesOf(metric, 'ours').map((value, i) => value / theirs[i]!)
      return { median: median(ratios), min: Math.min(...ratios), max: Math.max(...ratios) }
    },
  }
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}
