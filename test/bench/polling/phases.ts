/**
 * A distribution's phases: nothing learned, learning, learned, each with its catalogue right or far off; and a shift.
 */
import type { PollLimits } from '../../../src/workers/poll-schedule.ts'
import { boundOf, type Distribution, usualOf } from './distributions.ts'
import { everySecond, mean, type Score, scoreOf, worstOf } from './score.ts'
import { chancesOf, evenly, type Found, type Run, simulate } from './simulate.ts'

export interface Phase {
  distribution: string
  phase: string
  score: Score
  /** Held against the bound; what is not learned isn't. */
  learned: boolean
}

export const DEFAULTS: PollLimits = { minMs: 1000, maxMs: 15_000 }
/** Jobs at once, as of a small account. */
const AT_ONCE = 3
const NEWEST = 300
/** Jobs over which a model counts as being learned, looked at so many in a row. */
const LEARNING = 60
const WINDOW = 20

const runOf = (distribution: Distribution, more: Partial<Run>, seed: number): Run => ({
  jobs: 1000,
  truth: () => distribution,
  expectedMs: usualOf(distribution),
  limits: DEFAULTS,
  everyMs: usualOf(distribution) / AT_ONCE,
  newest: NEWEST,
  random: chancesOf(seed),
  ...more,
})

/** The catalogue's figure is `off` times the usual time. */
export function unlearned(distribution: Distribution, off: number, jobs: number): Score {
  const expectedMs = usualOf(distribution) * off
  return scoreOf(
    simulate(runOf(distribution, { jobs, expectedMs, newest: 0, random: evenly() }, 1)),
    boundOf(distribution),
  )
}

/** Against a fixed interval it is the worst of any window, not their mean. */
export function learning(distribution: Distribution, off: number, runs: number): Score {
  const expectedMs = usualOf(distribution) * off
  const found: Found[][] = []
  for (let seed = 1; seed <= runs; seed++)
    found.push(simulate(runOf(distribution, { jobs: LEARNING, expectedMs }, seed)))
  return { ...scoreOf(found.flat(), boundOf(distribution)), toFixed: worstOf(found, WINDOW) }
}

export function learned(distribution: Distribution, jobs: number, limits = DEFAULTS, newest = NEWEST): Score {
  const run = runOf(distribution, { jobs: newest + jobs, limits, newest }, 7)
  return scoreOf(simulate(run).slice(newest), boundOf(distribution))
}

export function phasesOf(distribution: Distribution): Phase[] {
  const { name } = distribution
  const sample = Array.from({ length: 1000 }, (_, i) => distribution.quantile((i + 0.5) / 1000))
  const row = (phase: string, score: Score, learned = false): Phase => ({
    distribution: name,
    phase,
    score,
    learned,
  })
  return [
    row('before it learned', unlearned(distribution, 1, 20_000)),
    row('  catalogue says a fifth', unlearned(distribution, 0.2, 10_000)),
    row('  catalogue says fivefold', unlearned(distribution, 5, 20_000)),
    row('while learning', learning(distribution, 1, 24)),
    row('  catalogue says a fifth', learning(distribution, 0.2, 12)),
    row('  catalogue says fivefold', learning(distribution, 5, 12)),
    row('learned', learned(distribution, 1500), true),
    row('the SDK, every second', everySecond(mean(sample), boundOf(distribution))),
  ]
}

/** From one truth to another in mid-run; the worst window counts while it shifts. */
export function shiftOf(before: Distribution, after: Distribution, runs: number): Phase[] {
  const shifts = 400
  const found: Found[][] = []
  for (let seed = 1; seed <= runs; seed++) {
    const truth = (job: number) => (job < shifts ? before : after)
    found.push(simulate(runOf(before, { jobs: 900, truth, everyMs: usualOf(after) / AT_ONCE }, seed)))
  }
  const part = (from: number, to: number) => found.map(run => run.slice(from, to))
  const during = part(shifts, shifts + LEARNING)
  const distribution = `shift: ${before.name} → ${after.name}`
  const score = (of: Found[][], truth: Distribution) => scoreOf(of.flat(), boundOf(truth))
  return [
    { distribution, phase: 'before', score: score(part(200, shifts), before), learned: true },
    {
      distribution,
      phase: `during, ${LEARNING} jobs`,
      score: { ...score(during, after), toFixed: worstOf(during, WINDOW) },
      learned: false,
    },
    { distribution, phase: 'after', score: score(part(shifts + LEARNING, 900), after), learned: true },
  ]
}
