/**
 * The clock of all processes of the run: the machine's monotonic clock, in microseconds.
 */
export const microseconds = (): number => Number(process.hrtime.bigint() / 1000n)
