/**
 * When to look next. Pure; `random` is in [0, 1).
 */

export interface PollLimits {
  minMs: number
  maxMs: number
}

/** A look waits a tenth of the job's age, so its delay stays small against the time it took. ±15 % keep jobs apart. */
export function nextLook(
  submittedAt: number,
  now: number,
  { minMs, maxMs }: PollLimits,
  random: number,
): number {
  const interval = (now - submittedAt) / 10
  return now + clamp(interval * (0.85 + 0.3 * random), minMs, maxMs)
}

/** A pause is probed after twice the time it has lasted, between one second and one minute. */
export const nextProbe = (since: number, now: number): number => now + clamp(now - since, 1000, 60_000)

const clamp = (value: number, least: number, most: number) =>
  Math.round(Math.min(Math.max(value, least), most))
