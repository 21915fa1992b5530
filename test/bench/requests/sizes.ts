/**
 * Sizes of the requests part.
 */
import type { RequestSizes } from './measure.ts'

export const requestSizes = (isQuick: boolean): RequestSizes =>
  isQuick
    ? { rounds: 3, sliceMs: 250, warmUpMs: 700, rows: 2000, pageRows: [1000, 10_000] }
    : { rounds: 7, sliceMs: 300, warmUpMs: 1200, rows: 10_000, pageRows: [1000, 10_000, 100_000] }
