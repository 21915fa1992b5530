/**
 * Sizes of the money campaign: short for `npm test`, long for `npm run torture`.
 */
export interface Plan {
  models: readonly ('WAN_2_2_I2V_PLUS_1080P' | 'WAN_2_2_I2V_PLUS_480P')[]
  /** Warm-up jobs of each model. */
  warmUpJobs: number
  /** Minimum jobs of each of the two apps. */
  minJobsPerApp: number
  /** Concurrent submit loops of an app, and the pause within a loop. */
  concurrentSubmits: number
  submitIntervalMs: readonly [number, number]
  /** Apps stop submitting above this many unsent predictions. */
  maxUnsent: number
  /** Share of jobs that are canceled, and the delay after their acceptance. */
  cancelRatio: number
  cancelDelayMs: readonly [number, number]
  /** Retries of each app. */
  retriesPerApp: number
  /** Upstream duration in tenths of a second. */
  durationTenths: readonly [number, number]
  /** Kills at random moments, and at a kill point. */
  randomKills: number
  targetedKills: number
  /** Time from a start to the next kill. */
  uptimeMs: readonly [number, number]
  /** Share of calls that fail. */
  faultRates: Readonly<Record<'submits' | 'reads' | 'webhooks', number>>
  submitTimeoutMs: number
  readTimeoutMs: number
  /** Time until a POST of unknown outcome fails its row. */
  submitUnknownAfterMs: number
  /** The fault phase lasts until this many faulty submits and all kills, */
  minFaultySubmits: number
  /** but, kills apart, at most this long. */
  maxFaultPhaseMs: number
  /** Then faults continue until all is sent, at most this long. */
  maxDrainMs: number
  /** Then everything must end within this time. */
  settleTimeoutMs: number
}

export const SHORT: Plan = {
  models: ['WAN_2_2_I2V_PLUS_480P'],
  warmUpJobs: 60,
  minJobsPerApp: 75,
  concurrentSubmits: 6,
  submitIntervalMs: [50, 800],
  maxUnsent: 60,
  cancelRatio: 0.15,
  cancelDelayMs: [0, 1500],
  retriesPerApp: 6,
  durationTenths: [0, 8],
  randomKills: 1,
  targetedKills: 2,
  uptimeMs: [200, 1000],
  faultRates: { submits: 0.25, reads: 0.1, webhooks: 0.4 },
  submitTimeoutMs: 1200,
  readTimeoutMs: 800,
  submitUnknownAfterMs: 3000,
  minFaultySubmits: 25,
  maxFaultPhaseMs: 6000,
  maxDrainMs: 2000,
  settleTimeoutMs: 120_000,
}

export const LONG: Plan = {
  ...SHORT,
  models: ['WAN_2_2_I2V_PLUS_1080P', 'WAN_2_2_I2V_PLUS_480P'],
  warmUpJobs: 120,
  minJobsPerApp: 200,
  maxUnsent: 150,
  retriesPerApp: 40,
  durationTenths: [0, 40],
  randomKills: 10,
  targetedKills: 12,
  uptimeMs: [500, 6000],
  faultRates: { submits: 0.3, reads: 0.15, webhooks: 0.4 },
  submitUnknownAfterMs: 8000,
  minFaultySubmits: 300,
  maxFaultPhaseMs: 110_000,
  maxDrainMs: 15_000,
}
