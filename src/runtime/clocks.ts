/**
 * The clocks of this machine, as one value that is passed in.
 * Invariant: the three differ only where they must. The wall clock may be set. The monotonic clock is never set, and may
 * stand still while the machine sleeps. The boot clock is never set and counts the sleep.
 */
import { uptime } from 'node:os'

export interface Clocks {
  /** ms since 1970. */
  wall(): number
  /** ms since any moment. */
  monotonic(): number
  /** ms since any moment; null if the machine has no boot clock. */
  boot(): number | null
}

export const createClocks = (): Clocks => ({
  wall: Date.now,
  monotonic: () => performance.now(),
  boot() {
    try {
      return uptime() * 1000
    } catch {
      return null
    }
  },
})

/** Starts to measure. The result is the time since then, ms, with the time that the machine slept. */
export function startStopwatch({ wall, monotonic, boot }: Clocks): () => number {
  const started = { wall: wall(), monotonic: monotonic(), boot: boot() }
  return () => {
    const bootNow = boot()
    const withSleep =
      started.boot === null || bootNow === null ? wall() - started.wall : bootNow - started.boot
    return Math.max(withSleep, monotonic() - started.monotonic)
  }
}
