/**
 * Sizes of the scale part. A poll comes with the poller's next tick of 200 ms, so both intervals make about 480 polls
 * a second.
 */
import type { ScaleSizes } from './measure.ts'

const few = { jobs: 100, pollIntervalMs: 150 }
const many = { jobs: 10_000, pollIntervalMs: 18_000 }

export const scaleSizes = (isQuick: boolean): ScaleSizes =>
  isQuick
    ? { few, many: { jobs: 2000, pollIntervalMs: 3600 }, steadyMs: 3000, rounds: 2 }
    : { few, many, steadyMs: 15_000, rounds: 6 }
