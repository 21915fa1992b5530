/**
 * What looks cost, against the bound and against a fixed interval. Both rivals are given their best: the bound is of many
 * looks a job, and the fixed interval has its first look one whole interval after the job was sent.
 */
import type { JobResult } from './simulate.ts'

export interface Score {
  polls: number
  delayMs: number
  /** looks × delay ÷ the bound. */
  ratioToBound: number
  /** Looks of a fixed interval of equal mean delay, and ours over them. */
  fixedIntervalPolls: number
  ratioToFixed: number
}

export function scoreResults(results: readonly JobResult[], boundMs: number): Score {
  const polls = mean(results.map(result => result.polls))
  const delayMs = mean(results.map(result => result.delayMs))
  const fixedIntervalPolls = pollsAtFixedInterval(mean(results.map(result => result.durationMs)), delayMs)
  return {
    polls,
    delayMs,
    ratioToBound: (polls * delayMs) / boundMs,
    fixedIntervalPolls,
    ratioToFixed: polls / fixedIntervalPolls,
  }
}

/** The interval is twice its mean delay; a job needs as many as it has begun. */
const pollsAtFixedInterval = (durationMs: number, delayMs: number) =>
  Math.max(1, durationMs / (2 * delayMs) + 0.5)

/** `runs` of equal length, together: the worst that `window` jobs in a row had against a fixed interval. */
export function worstWindowRatio(runs: readonly (readonly JobResult[])[], window: number): number {
  let worst = 0
  for (let from = 0; from + window <= runs[0]!.length; from += window) {
    const results = runs.flatMap(run => run.slice(from, from + window))
    worst = Math.max(worst, scoreResults(results, 1).ratioToFixed)
  }
  return worst
}

/** As the official SDK does it. */
export function scoreEverySecond(durationMs: number, boundMs: number): Score {
  const polls = pollsAtFixedInterval(durationMs, 500)
  return {
    polls,
    delayMs: 500,
    ratioToBound: (polls * 500) / boundMs,
    fixedIntervalPolls: polls,
    ratioToFixed: 1,
  }
}

export const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length
