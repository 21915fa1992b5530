/**
 * How late this process's event loop is.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks'

/** ms; every value of the histogram has it in it. */
const RESOLUTION_MS = 10

export function createDelayMonitor() {
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
  delay.enable()
  return {
    /** p99 since it was last asked, ms. */
    takeP99(): number {
      const delayMs = Math.max(0, delay.percentile(99) / 1e6 - RESOLUTION_MS)
      delay.reset()
      return delayMs
    },
  }
}
