/**
 * The metrics of requests to the three servers, with their targets.
 */
import type { Metric } from '../results.ts'
import { PAGE_SIZE } from './operations.ts'

const CPU = { unit: 'µs', digits: 0 }
const RATE = { unit: '/s', digits: 0 }

export const REQUEST_METRICS = {
  readCpu: { label: 'server CPU a read by id', ...CPU, max: { stock: 1 / 3 } },
  readRate: { label: 'reads by id a second', ...RATE, min: { stock: 3 } },
  pageCpu: { label: `server CPU a page of ${PAGE_SIZE}`, ...CPU },
  pageRate: { label: `pages of ${PAGE_SIZE} a second`, ...RATE },
  submitCpu: { label: 'server CPU a submit', ...CPU, max: { stock: 1 / 0.8 } },
  submitRate: { label: 'submits a second', ...RATE, min: { stock: 0.8 } },
  aloneCpu: { label: 'server CPU a submit, one at a time', ...CPU },
  aloneRate: { label: 'submits a second, one at a time', ...RATE },
} satisfies Record<string, Metric>
export type RequestMetric = keyof typeof REQUEST_METRICS
