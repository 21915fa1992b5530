/**
 * The results of the polling simulation, as tables.
 */
import { aligned, formatNumber } from '../table.ts'
import { BIMODAL, HEAVY_TAIL, NARROW, SLOWER, UNIFORM, VERY_NARROW } from './distributions.ts'
import { DEFAULT_LIMITS, type Phase, phasesOf, phasesOfShift, scoreLearned } from './phases.ts'

const MAX_RATIO_TO_BOUND = 1.25
const MAX_RATIO_TO_FIXED = 1
const NO_LIMITS = { minMs: 1, maxMs: 24 * 3_600_000 }

export function pollingTables(): string {
  const phases = [NARROW, UNIFORM, BIMODAL, HEAVY_TAIL].flatMap(phasesOf)
  phases.push(...phasesOfShift(NARROW, SLOWER, 3))
  return `${formatTable(phases)}

Polls a job and mean delay, jobs one after another, limits ${DEFAULT_LIMITS.minMs} and ${DEFAULT_LIMITS.maxMs} ms; it learns from what its own polls found.
The bound is ½(∫√(S·f))², for many polls a job: a few well placed polls can be a little below it.
A fixed interval of equal mean delay polls first after one interval; before anything is learned, ours is one. While it learns: the worst of any 20 jobs in a row.

${formatTable(smallSamplePhases())}

${formatTable(limitedPhases())}

Where all jobs end within few minimum intervals of one another, that interval is the limit: the schedule can only poll
at that interval where the job is likely to end, and at no other time.`
}

function smallSamplePhases(): Phase[] {
  return [NARROW, UNIFORM, BIMODAL, HEAVY_TAIL].flatMap(of =>
    [30, 100].map(newest => ({
      distribution: of.name,
      phase: `from its newest ${newest}`,
      score: scoreLearned(of, 1000, DEFAULT_LIMITS, newest),
      isLearned: true,
    })),
  )
}

function limitedPhases(): Phase[] {
  const rows = [
    { of: VERY_NARROW, name: 'limits 1 s, 15 s', limits: DEFAULT_LIMITS },
    { of: VERY_NARROW, name: 'no limits', limits: NO_LIMITS },
    { of: NARROW, name: 'no limits', limits: NO_LIMITS },
    { of: UNIFORM, name: 'limits 1 s, 5 s', limits: { minMs: 1000, maxMs: 5000 } },
    { of: UNIFORM, name: 'limits 10 s, 15 s', limits: { minMs: 10_000, maxMs: 15_000 } },
    { of: HEAVY_TAIL, name: 'limits 1 s, 5 s', limits: { minMs: 1000, maxMs: 5000 } },
    { of: HEAVY_TAIL, name: 'no limits', limits: NO_LIMITS },
  ]
  return rows.map(({ of, name, limits }) => ({
    distribution: of.name,
    phase: name,
    score: scoreLearned(of, 700, limits),
    isLearned: true,
  }))
}

function formatTable(phases: readonly Phase[]): string {
  const head = ['', '', 'polls', 'delay', 'polls × delay ÷ bound', 'fixed', 'polls ÷ fixed']
  const rows = phases.map(({ distribution, phase, score, isLearned }, i) => [
    distribution === phases[i - 1]?.distribution ? '' : distribution,
    phase,
    formatNumber(score.polls, 1),
    `${formatNumber(score.delayMs / 1000, 2)} s`,
    isLearned ? formatVerdict(score.ratioToBound, MAX_RATIO_TO_BOUND) : formatNumber(score.ratioToBound, 2),
    formatNumber(score.fixedIntervalPolls, 1),
    phase.startsWith('the SDK') ? '' : formatVerdict(score.ratioToFixed, MAX_RATIO_TO_FIXED),
  ])
  return aligned([head, ...rows], [2, 3, 5])
}

const formatVerdict = (value: number, max: number) =>
  `${value.toFixed(2)} target ≤ ${max.toFixed(2)} ${Number(value.toFixed(2)) <= max ? 'met' : 'missed'}`
