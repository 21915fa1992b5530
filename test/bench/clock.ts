/**
 * One clock for all processes of the run: monotonic, the machine's own, in microseconds.
 */
export const microseconds = (): number => Number(process.hrtime.bigint() / 1000n)
