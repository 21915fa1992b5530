/**
 * The simulation in words.
 */
import { figure } from '../table.ts'
import { HUMPS, LATER, NARROW, NEEDLE, TAIL, UNIFORM } from './distributions.ts'
import { DEFAULTS, learned, type Phase, phasesOf, shiftOf } from './phases.ts'

const TO_BOUND = 1.25
const TO_FIXED = 1
const UNBOUND = { minMs: 1, maxMs: 24 * 3_600_000 }

export function pollingTables(): string {
  const phases = [NARROW, UNIFORM, HUMPS, TAIL].flatMap(phasesOf)
  phases.push(...shiftOf(NARROW, LATER, 3))
  return `${tableOf(phases)}

Looks a job and mean delay, jobs one after another, limits ${DEFAULTS.minMs} and ${DEFAULTS.maxMs} ms; it learns from what its own looks found.
The bound is ½(∫√(S·f))², of many looks a job: with few, well placed, one can be a little below it.
A fixed interval of equal mean delay looks first after one interval; before anything is learned, ours is one. While it learns: the worst of any 20 jobs in a row.

${tableOf(fewer())}

${tableOf(clamped())}

Where all jobs end within few least intervals of one another, that interval stands in the way: nothing is done about it but to look at
that interval where the job is likely to end, and at no other time.`
}

function fewer(): Phase[] {
  return [NARROW, UNIFORM, HUMPS, TAIL].flatMap(of =>
    [30, 100].map(newest => ({
      distribution: of.name,
      phase: `from its newest ${newest}`,
      score: learned(of, 1000, DEFAULTS, newest),
      learned: true,
    })),
  )
}

function clamped(): Phase[] {
  const rows = [
    { of: NEEDLE, name: 'limits 1 s, 15 s', limits: DEFAULTS },
    { of: NEEDLE, name: 'no limits', limits: UNBOUND },
    { of: NARROW, name: 'no limits', limits: UNBOUND },
    { of: UNIFORM, name: 'limits 1 s, 5 s', limits: { minMs: 1000, maxMs: 5000 } },
    { of: UNIFORM, name: 'limits 10 s, 15 s', limits: { minMs: 10_000, maxMs: 15_000 } },
    { of: TAIL, name: 'limits 1 s, 5 s', limits: { minMs: 1000, maxMs: 5000 } },
    { of: TAIL, name: 'no limits', limits: UNBOUND },
  ]
  return rows.map(({ of, name, limits }) => ({
    distribution: of.name,
    phase: name,
    score: learned(of, 700, limits),
    learned: true,
  }))
}

function tableOf(phases: readonly Phase[]): string {
  const head = ['', '', 'looks', 'delay', 'looks × delay ÷ bound', 'fixed', 'looks ÷ fixed']
  const rows = phases.map(({ distribution, phase, score, learned }, i) => [
    distribution === phases[i - 1]?.distribution ? '' : distribution,
    phase,
    figure(score.looks, 1),
    `${figure(score.delayMs / 1000, 2)} s`,
    learned ? verdict(score.toBound, TO_BOUND) : figure(score.toBound, 2),
    figure(score.fixed, 1),
    phase.startsWith('the SDK') ? '' : verdict(score.toFixed, TO_FIXED),
  ])
  return aligned([head, ...rows])
}

const verdict = (value: number, most: number) =>
  `${value.toFixed(2)} target ≤ ${most.toFixed(2)} ${Number(value.toFixed(2)) <= most ? 'met' : 'missed'}`

function aligned(rows: readonly string[][]): string {
  const numbers = [2, 3, 5]
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map(row => row[column]!.length)))
  const cell = (text: string, i: number) =>
    numbers.includes(i) ? text.padStart(widths[i]!) : text.padEnd(widths[i]!)
  return rows.map(row => row.map(cell).join('  ').trimEnd()).join('\n')
}
