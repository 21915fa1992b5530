/**
 * What looks cost, against the bound and against a fixed interval. Both rivals are given their best: the bound is of many
 * looks a job, and the fixed interval has its first look one whole interval after the job was sent.
 */
import type { Found } from './simulate.ts'

export interface Score {
  looks: number
  delayMs: number
  /** looks × delay ÷ the bound. */
  toBound: number
  /** Looks of a fixed interval of equal mean delay, and ours over them. */
  fixed: number
  toFixed: number
}

export function scoreOf(found: readonly Found[], boundMs: number): Score {
  const looks = mean(found.map(one => one.looks))
  const delayMs = mean(found.map(one => one.delayMs))
  const fixed = fixedLooks(mean(found.map(one => one.tookMs)), delayMs)
  return { looks, delayMs, toBound: (looks * delayMs) / boundMs, fixed, toFixed: looks / fixed }
}

/** The interval is twice its mean delay; a job needs as many as it has begun. */
const fixedLooks = (tookMs: number, delayMs: number) => Math.max(1, tookMs / (2 * delayMs) + 0.5)

/** `runs` of equal length, together: the worst that `window` jobs in a row had against a fixed interval. */
export function worstOf(runs: readonly (readonly Found[])[], window: number): number {
  let worst = 0
  for (let from = 0; from + window <= runs[0]!.length; from += window) {
    const found = runs.flatMap(run => run.slice(from, from + window))
    worst = Math.max(worst, scoreOf(found, 1).toFixed)
  }
  return worst
}

/** As the official SDK does it. */
export function everySecond(tookMs: number, boundMs: number): Score {
  const looks = fixedLooks(tookMs, 500)
  return { looks, delayMs: 500, toBound: (looks * 500) / boundMs, fixed: looks, toFixed: 1 }
}

export const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length
