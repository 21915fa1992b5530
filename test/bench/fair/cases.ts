/**
 * Accounts that several apps share. All have more to do than they get, but for those that come and go.
 */
export interface Guest {
  weight: number
  /** What a job takes, ms. */
  job: (random: () => number) => number
  /** So many jobs at a time, so often; without it there is always more. */
  comes?: { jobs: number; everyMs: number }
}

export interface Case {
  name: string
  places: number
  apps: Guest[]
  /** All jobs together. */
  jobs: number
  /** Rows that wait of each app that always has more. */
  backlog: number
}

const MINUTE = 60_000
export const MEAN_MS = 2 * MINUTE

const around = (random: () => number) => MEAN_MS * (2 / 3 + (2 / 3) * random())
const any = (random: () => number) => -MEAN_MS * Math.log(1 - random())
const always = () => MEAN_MS
const lasting = (factor: number) => (random: () => number) => factor * around(random)

const of = (weights: readonly number[], job = around): Guest[] => weights.map(weight => ({ weight, job }))
const visitor = (jobs: number, everyMs: number): Guest => ({
  weight: 1,
  job: around,
  comes: { jobs, everyMs },
})

const row = (name: string, places: number, apps: Guest[], jobs = 300, backlog = 8): Case => ({
  name,
  places,
  apps,
  jobs,
  backlog,
})

export const CASES: readonly Case[] = [
  row('1 : 1', 3, of([1, 1])),
  row('1 : 1, one place', 1, of([1, 1])),
  row('five equal', 3, of([1, 1, 1, 1, 1])),
  row('five equal, all jobs of one length', 3, of([1, 1, 1, 1, 1], always)),
  row('two equal, jobs four times as long as the other’s', 3, [
    { weight: 1, job: lasting(2) },
    { weight: 1, job: lasting(0.5) },
  ]),
  row('1 : 3', 3, of([1, 3])),
  row('1 : 3, one place', 1, of([1, 3], always)),
  row('1 : 2 : 3', 3, of([1, 2, 3])),
  row('1 : 2 : 3, all jobs of one length', 3, of([1, 2, 3], always)),
  row('1 : 10', 3, of([1, 10]), 600),
  row('1 : 2 : 3 : 4', 10, of([1, 2, 3, 4])),
  row('1 : 1 : 2 : 2 : 3 : 5 : 1, jobs of any length', 20, of([1, 1, 2, 2, 3, 5, 1], any), 900),
  row('two equal, and one that comes with ten jobs and goes', 3, [...of([1, 1]), visitor(10, 45 * MINUTE)]),
  row(
    'a single job now and then beside 10,000 of ten times the weight',
    3,
    [...of([10]), visitor(1, 60 * MINUTE)],
    250,
    10_000,
  ),
  ...[1, 3, 10].map(places =>
    row('a single job now and then beside 10,000', places, [...of([1]), visitor(1, 7 * MINUTE)], 250, 10_000),
  ),
]
