/**
 * The cost of polls, compared with the bound and with a fixed interval. Both are given their best: the bound is for
 * many polls a job, and the fixed interval has its first poll one whole interval after the job was sent.
 */
import type { JobResult } from './simulate.ts'

export interface Score {
  polls: number
  delayMs: number
  /** Polls × delay ÷ the bound. */
  ratioToBound: number
  /** Polls of a fixed interval of equal mean delay, and ours over them. */
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

/** The interval is twice its mean delay. A job needs one poll for each interval that has started. */
const pollsAtFixedInterval = (durationMs: number, delayMs: number) =>
  Math.max(1, durationMs / (2 * delayMs) + 0.5)

/** The worst ratio to a fixed interval that `window` consecutive jobs had, over all `runs` of equal length. */
export function worstWindowRatio(runs: readonly (readonly JobResult[])[], window: number): number {
  let worst = 0
  for (let from = 0; from + window <= runs[0]!.length; from += window) {
    const results = runs.flatMap(run => run.slice(from, from + window))
    worst = Math.max(worst, scoreResults(results, 1).ratioToFixed)
  }
  return worst
}

/** The schedule of the official SDK. */
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
