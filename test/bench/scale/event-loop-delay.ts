/**
 * Measures this process's event-loop delay.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks'

/** The histogram's resolution, ms. Every value of the histogram includes it. */
const RESOLUTION_MS = 10

export function createDelayMonitor() {
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
  delay.enable()
  return {
    /** p99 since the last call, ms. */
    takeP99(): number {
      const delayMs = Math.max(0, delay.percentile(99) / 1e6 - RESOLUTION_MS)
      delay.reset()
      return delayMs
    },
  }
}
