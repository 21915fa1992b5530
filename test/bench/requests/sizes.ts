/**
 * How much is measured.
 */
import type { RequestSizes } from './measure.ts'

export const requestSizes = (isQuick: boolean): RequestSizes =>
  isQuick
    ? { turns: 2, sliceMs: 400, warmUpMs: 600, rows: 2000, pageRows: [1000, 10_000] }
    : { turns: 6, sliceMs: 500, warmUpMs: 1000, rows: 10_000, pageRows: [1000, 10_000, 100_000] }
