/**
 * How late this process's event loop is.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks'

/** ms; every value of the histogram has it in it. */
const RESOLUTION = 10

export function createLateness() {
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION })
  delay.enable()
  return {
    /** p99 since it was last asked, ms. */
    take(): number {
      const late = Math.max(0, delay.percentile(99) / 1e6 - RESOLUTION)
      delay.reset()
      return late
    },
  }
}
