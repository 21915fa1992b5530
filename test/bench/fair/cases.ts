/**
 * Accounts that several apps share. Every app always has more jobs than slots, except those with `arrivals`.
 */
export interface SimulatedApp {
  weight: number
  /** Draws the duration of a job, ms. */
  drawJobMs: (random: () => number) => number
  /** Jobs that arrive together, at this mean interval. Without arrivals the app always has more jobs. */
  arrivals?: { jobs: number; meanIntervalMs: number }
}

export interface FairnessCase {
  name: string
  slots: number
  apps: SimulatedApp[]
  /** Number of jobs, all apps together. */
  totalJobs: number
  /** Queued rows of each app that always has more jobs. */
  backlog: number
}

const MINUTE = 60_000
export const MEAN_JOB_MS = 2 * MINUTE

const aroundMean = (random: () => number) => MEAN_JOB_MS * (2 / 3 + (2 / 3) * random())
const exponential = (random: () => number) => -MEAN_JOB_MS * Math.log(1 - random())
const constant = () => MEAN_JOB_MS
const scaled = (factor: number) => (random: () => number) => factor * aroundMean(random)

const appsWithWeights = (weights: readonly number[], drawJobMs = aroundMean): SimulatedApp[] =>
  weights.map(weight => ({ weight, drawJobMs }))
const intermittentApp = (jobs: number, meanIntervalMs: number): SimulatedApp => ({
  weight: 1,
  drawJobMs: aroundMean,
  arrivals: { jobs, meanIntervalMs },
})

const defineCase = (
  name: string,
  slots: number,
  apps: SimulatedApp[],
  totalJobs = 300,
  backlog = 8,
): FairnessCase => ({
  name,
  slots,
  apps,
  totalJobs,
  backlog,
})

export const CASES: readonly FairnessCase[] = [
  defineCase('1 : 1', 3, appsWithWeights([1, 1])),
  defineCase('1 : 1, one slot', 1, appsWithWeights([1, 1])),
  defineCase('five equal', 3, appsWithWeights([1, 1, 1, 1, 1])),
  defineCase('five equal, all jobs of one length', 3, appsWithWeights([1, 1, 1, 1, 1], constant)),
  defineCase('two equal, jobs four times as long as the other’s', 3, [
    { weight: 1, drawJobMs: scaled(2) },
    { weight: 1, drawJobMs: scaled(0.5) },
  ]),
  defineCase('1 : 3', 3, appsWithWeights([1, 3])),
  defineCase('1 : 3, one slot', 1, appsWithWeights([1, 3], constant)),
  defineCase('1 : 2 : 3', 3, appsWithWeights([1, 2, 3])),
  defineCase('1 : 2 : 3, all jobs of one length', 3, appsWithWeights([1, 2, 3], constant)),
  defineCase('1 : 10', 3, appsWithWeights([1, 10]), 600),
  defineCase('1 : 2 : 3 : 4', 10, appsWithWeights([1, 2, 3, 4])),
  defineCase(
    '1 : 1 : 2 : 2 : 3 : 5 : 1, jobs of any length',
    20,
    appsWithWeights([1, 1, 2, 2, 3, 5, 1], exponential),
    900,
  ),
  defineCase('two equal, and one that comes with ten jobs and goes', 3, [
    ...appsWithWeights([1, 1]),
    intermittentApp(10, 45 * MINUTE),
  ]),
  defineCase(
    'a single job now and then beside 10,000 of ten times the weight',
    3,
    [...appsWithWeights([10]), intermittentApp(1, 60 * MINUTE)],
    250,
    10_000,
  ),
  ...[1, 3, 10].map(slots =>
    defineCase(
      'a single job now and then beside 10,000',
      slots,
      [...appsWithWeights([1]), intermittentApp(1, 7 * MINUTE)],
      250,
      10_000,
    ),
  ),
]
