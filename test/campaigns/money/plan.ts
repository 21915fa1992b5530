/**
 * How much torture: a short form for `npm test`, a long one for `npm run torture`.
 */
export interface Plan {
  models: readonly ('WAN_2_2_I2V_PLUS_1080P' | 'WAN_2_2_I2V_PLUS_480P')[]
  /** Of each model, before the storm. */
  lessons: number
  /** Each of the two apps submits at least so many. */
  jobs: number
  /** Submits of an app at once, and the rest between two of a line. */
  lines: number
  restMs: readonly [number, number]
  /** While so many are not sent, the apps hold back. */
  backlog: number
  /** Of the jobs so many are canceled, so long after they were accepted. */
  cancels: number
  cancelMs: readonly [number, number]
  /** Of each app. */
  retries: number
  /** Seconds a job takes upstream, in tenths. */
  tenths: readonly [number, number]
  /** SIGKILLs at random moments, and in the middle of a call. */
  kills: number
  aimed: number
  /** From a start to the next kill. */
  aliveMs: readonly [number, number]
  /** How many calls go wrong. */
  faults: Readonly<Record<'submits' | 'reads' | 'webhooks', number>>
  submitTimeoutMs: number
  readTimeoutMs: number
  /** A POST of unknown outcome is looked for so long before its row fails. */
  unknownMs: number
  /** It storms until so many submits have met a fault and all kills are done, */
  wrongs: number
  /** but, the kills apart, no longer than this. */
  mostMs: number
  /** Once the apps are done, faults go on until all is sent, but no longer than this. */
  lastingMs: number
  /** Once the faults have stopped, all must have ended within it. */
  settleMs: number
}

export const SHORT: Plan = {
  models: ['WAN_2_2_I2V_PLUS_480P'],
  lessons: 60,
  jobs: 75,
  lines: 6,
  restMs: [50, 800],
  backlog: 60,
  cancels: 0.15,
  cancelMs: [0, 1500],
  retries: 6,
  tenths: [0, 8],
  kills: 1,
  aimed: 2,
  aliveMs: [200, 1000],
  faults: { submits: 0.25, reads: 0.1, webhooks: 0.4 },
  submitTimeoutMs: 1200,
  readTimeoutMs: 800,
  unknownMs: 3000,
  wrongs: 25,
  mostMs: 6000,
  lastingMs: 2000,
  settleMs: 120_000,
}

export const LONG: Plan = {
  ...SHORT,
  models: ['WAN_2_2_I2V_PLUS_1080P', 'WAN_2_2_I2V_PLUS_480P'],
  lessons: 120,
  jobs: 200,
  backlog: 150,
  retries: 40,
  tenths: [0, 40],
  kills: 10,
  aimed: 12,
  aliveMs: [500, 6000],
  faults: { submits: 0.3, reads: 0.15, webhooks: 0.4 },
  unknownMs: 8000,
  wrongs: 300,
  mostMs: 110_000,
  lastingMs: 15_000,
}
