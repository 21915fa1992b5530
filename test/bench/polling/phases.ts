/**
 * A distribution's phases: nothing learned, learning and learned, each with its catalogue right or far off; and a
 * shift.
 */
import type { PollLimits } from '../../../src/workers/poll-schedule.ts'
import { type Distribution, lowerBoundOf, medianMsOf } from './distributions.ts'
import { mean, type Score, scoreEverySecond, scoreResults, worstWindowRatio } from './score.ts'
import { type JobResult, lowDiscrepancy, type SimulationRun, seededRandom, simulate } from './simulate.ts'

export interface Phase {
  distribution: string
  phase: string
  score: Score
  /** Compared with the bound. Only learned phases are. */
  isLearned: boolean
}

export const DEFAULT_LIMITS: PollLimits = { minMs: 1000, maxMs: 15_000 }
/** Concurrent jobs, as of a small account. */
const CONCURRENT_JOBS = 3
const SAMPLE_SIZE = 300
/** Jobs over which a model counts as learning, and the number of consecutive jobs in a window. */
const LEARNING_JOBS = 60
const WINDOW_JOBS = 20

const createRun = (
  distribution: Distribution,
  overrides: Partial<SimulationRun>,
  seed: number,
): SimulationRun => ({
  jobs: 1000,
  distributionOf: () => distribution,
  expectedMs: medianMsOf(distribution),
  limits: DEFAULT_LIMITS,
  arrivalIntervalMs: medianMsOf(distribution) / CONCURRENT_JOBS,
  sampleSize: SAMPLE_SIZE,
  random: seededRandom(seed),
  ...overrides,
})

/** The catalogue's figure is `catalogueFactor` times the median. */
export function scoreUnlearned(distribution: Distribution, catalogueFactor: number, jobs: number): Score {
  const expectedMs = medianMsOf(distribution) * catalogueFactor
  return scoreResults(
    simulate(createRun(distribution, { jobs, expectedMs, sampleSize: 0, random: lowDiscrepancy() }, 1)),
    lowerBoundOf(distribution),
  )
}

/** The ratio to a fixed interval is that of the worst window, not the mean of all. */
export function scoreLearning(distribution: Distribution, catalogueFactor: number, runs: number): Score {
  const expectedMs = medianMsOf(distribution) * catalogueFactor
  const results: JobResult[][] = []
  for (let seed = 1; seed <= runs; seed++)
    results.push(simulate(createRun(distribution, { jobs: LEARNING_JOBS, expectedMs }, seed)))
  return {
    ...scoreResults(results.flat(), lowerBoundOf(distribution)),
    ratioToFixed: worstWindowRatio(results, WINDOW_JOBS),
  }
}

export function scoreLearned(
  distribution: Distribution,
  jobs: number,
  limits = DEFAULT_LIMITS,
  sampleSize = SAMPLE_SIZE,
): Score {
  const run = createRun(distribution, { jobs: sampleSize + jobs, limits, sampleSize }, 7)
  return scoreResults(simulate(run).slice(sampleSize), lowerBoundOf(distribution))
}

export function phasesOf(distribution: Distribution): Phase[] {
  const { name } = distribution
  const sample = Array.from({ length: 1000 }, (_, i) => distribution.quantile((i + 0.5) / 1000))
  const createPhase = (phase: string, score: Score, isLearned = false): Phase => ({
    distribution: name,
    phase,
    score,
    isLearned,
  })
  return [
    createPhase('before it learned', scoreUnlearned(distribution, 1, 20_000)),
    createPhase('  catalogue says a fifth', scoreUnlearned(distribution, 0.2, 10_000)),
    createPhase('  catalogue says fivefold', scoreUnlearned(distribution, 5, 20_000)),
    createPhase('while learning', scoreLearning(distribution, 1, 24)),
    createPhase('  catalogue says a fifth', scoreLearning(distribution, 0.2, 12)),
    createPhase('  catalogue says fivefold', scoreLearning(distribution, 5, 12)),
    createPhase('learned', scoreLearned(distribution, 1500), true),
    createPhase('the SDK, every second', scoreEverySecond(mean(sample), lowerBoundOf(distribution))),
  ]
}

/** Shifts from one distribution to another in mid-run. During the shift the worst window counts. */
export function phasesOfShift(before: Distribution, after: Distribution, runs: number): Phase[] {
  const shiftAt = 400
  const results: JobResult[][] = []
  for (let seed = 1; seed <= runs; seed++) {
    const distributionOf = (job: number) => (job < shiftAt ? before : after)
    results.push(
      simulate(
        createRun(
          before,
          { jobs: 900, distributionOf, arrivalIntervalMs: medianMsOf(after) / CONCURRENT_JOBS },
          seed,
        ),
      ),
    )
  }
  const slice = (from: number, to: number) => results.map(run => run.slice(from, to))
  const during = slice(shiftAt, shiftAt + LEARNING_JOBS)
  const distribution = `shift: ${before.name} → ${after.name}`
  const score = (results: JobResult[][], trueDistribution: Distribution) =>
    scoreResults(results.flat(), lowerBoundOf(trueDistribution))
  return [
    { distribution, phase: 'before', score: score(slice(200, shiftAt), before), isLearned: true },
    {
      distribution,
      phase: `during, ${LEARNING_JOBS} jobs`,
      score: { ...score(during, after), ratioToFixed: worstWindowRatio(during, WINDOW_JOBS) },
      isLearned: false,
    },
    {
      distribution,
      phase: 'after',
      score: score(slice(shiftAt + LEARNING_JOBS, 900), after),
      isLearned: true,
    },
  ]
}
