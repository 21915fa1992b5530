/**
 * How much is measured. A look comes with the poller's next tick of 200 ms: both intervals make some 480 looks a second.
 */
import type { ScaleSizes } from './measure.ts'

const few = { jobs: 100, lookMs: 150 }
const many = { jobs: 10_000, lookMs: 18_000 }

export const scaleSizes = (isQuick: boolean): ScaleSizes =>
  isQuick
    ? { few, many: { jobs: 2000, lookMs: 3600 }, holdMs: 3000, turns: 2 }
    : { few, many, holdMs: 15_000, turns: 6 }
