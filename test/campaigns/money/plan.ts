/**
 * How much torture: a short form for `npm test`, a long one for `npm run torture`.
 */
export interface Plan {
  models: readonly ('WAN_2_2_I2V_PLUS_1080P' | 'WAN_2_2_I2V_PLUS_480P')[]
  /** Of each model, before the storm. */
  warmUpJobs: number
  /** Each of the two apps submits at least so many. */
  minJobsPerApp: number
  /** Submits of an app at once, and the rest between two of a line. */
  concurrentSubmits: number
  submitIntervalMs: readonly [number, number]
  /** While so many are not sent, the apps hold back. */
  maxUnsent: number
  /** Of the jobs so many are canceled, so long after they were accepted. */
  cancelRatio: number
  cancelDelayMs: readonly [number, number]
  /** Of each app. */
  retriesPerApp: number
  /** Seconds a job takes upstream, in tenths. */
  durationTenths: readonly [number, number]
  /** SIGKILLs at random moments, and in the middle of a call. */
  randomKills: number
  targetedKills: number
  /** From a start to the next kill. */
  uptimeMs: readonly [number, number]
  /** How many calls go wrong. */
  faultRates: Readonly<Record<'submits' | 'reads' | 'webhooks', number>>
  submitTimeoutMs: number
  readTimeoutMs: number
  /** A POST of unknown outcome is looked for so long before its row fails. */
  submitUnknownAfterMs: number
  /** It storms until so many submits have met a fault and all kills are done, */
  minFaultySubmits: number
  /** but, the kills apart, no longer than this. */
  maxFaultPhaseMs: number
  /** Once the apps are done, faults go on until all is sent, but no longer than this. */
  maxDrainMs: number
  /** Once the faults have stopped, all must have ended within it. */
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
