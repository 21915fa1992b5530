/**
 * Sizes of the start part: about 50 seconds, a third of it to fill the database. `--quick` takes a third of it.
 */
import type { StartSizes } from './measure.ts'

export const startSizes = (isQuick: boolean): StartSizes =>
  isQuick
    ? { predictions: 10_000, starts: 2, idleMs: 2000 }
    : { predictions: 100_000, starts: 5, idleMs: 3000 }
