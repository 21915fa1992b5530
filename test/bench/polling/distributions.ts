/**
 * Distributions of completion times by their quantiles: the share `u` of the jobs is done by `quantile(u)`, ms; `u`
 * inside (0, 1).
 */
export interface Distribution {
  name: string
  quantile(u: number): number
}

/** Bell-shaped with tails that fall off as exp(−x). */
const logistic = (mean: number, deviation: number) => (u: number) =>
  1000 * Math.max(1, mean + deviation * (Math.sqrt(3) / Math.PI) * Math.log(u / (1 - u)))

const soon = logistic(45, 5)
const late = logistic(240, 15)
const trimmed = (u: number) => 0.002 + 0.996 * u

export const NARROW: Distribution = { name: 'narrow: 60 s ± 4 s', quantile: logistic(60, 4) }
export const UNIFORM: Distribution = { name: 'uniform: 1 to 5 min', quantile: u => 60_000 + 240_000 * u }
export const BIMODAL: Distribution = {
  name: 'bimodal: 45 s ± 5 s, 240 s ± 15 s',
  quantile: u => (u < 0.5 ? soon(trimmed(2 * u)) : late(trimmed(2 * u - 1))),
}
export const HEAVY_TAIL: Distribution = {
  name: 'heavy tail: over 40 s, P(> t) ~ t^−1.6',
  quantile: u => 40_000 * (1 - u) ** (-1 / 1.6),
}
export const SLOWER: Distribution = { name: '180 s ± 12 s', quantile: logistic(180, 12) }
/** Narrower than the minimum interval: no schedule with that interval comes near the bound. */
export const VERY_NARROW: Distribution = { name: 'needle: 60 s ± 1 s', quantile: logistic(60, 1) }

/** Fine enough for three digits, except for the tail. It is evaluated up to 1 − 1/STEPS. */
const STEPS = 200_000

/** ½(∫√(S·f))², ms: the lower bound of polls a job × mean delay when there are many polls. */
export function lowerBoundOf({ quantile }: Distribution): number {
  let area = 0
  for (let i = 1; i < STEPS - 1; i++) {
    const width = quantile((i + 1) / STEPS) - quantile(i / STEPS)
    area += Math.sqrt(((1 - (i + 0.5) / STEPS) * Math.max(width, 0)) / STEPS)
  }
  return area ** 2 / 2
}

export const medianMsOf = ({ quantile }: Distribution): number => quantile(0.5)
