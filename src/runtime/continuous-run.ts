/**
 * How long this process has run without a pause: since its start, or since it was last stopped, its machine slept, or the
 * wall clock leapt. After a pause, time has passed in which the process could not look, and after a leap no time has
 * passed at all, so a deadline in the past proves nothing.
 */
import type { Clocks } from './clocks.ts'

export interface ContinuousRun {
  /** Whether the process has run for `ms` without a pause or a leap. */
  hasLasted(ms: number): boolean
  /** Call it often. Returns the pause since the last call, ms; 0 without one. */
  takePause(): number
}

/** A shorter time between two calls is no pause: the process may have been busy. */
const MIN_PAUSE_MS = 5000

/** @param loopClock ms, monotonic; the clock of the timers, which shows that the process was stopped */
export function createContinuousRun(
  { wall, monotonic, boot }: Clocks,
  loopClock: () => number = () => performance.now(),
): ContinuousRun {
  const read = () => ({ wall: wall(), monotonic: monotonic(), boot: boot(), loop: loopClock() })
  let last = read()
  let startedAt = last.monotonic
  let untakenPauseMs = 0

  function notePause(): void {
    const current = read()
    const monotonicMs = current.monotonic - last.monotonic
    // Without a boot clock a wall clock that runs ahead is taken for a sleep.
    const withSleepMs =
      current.boot === null || last.boot === null ? current.wall - last.wall : current.boot - last.boot
    const pauseMs = Math.max(withSleepMs - monotonicMs, current.loop - last.loop)
    const leapMs = Math.abs(current.wall - last.wall - withSleepMs)
    last = current
    if (Math.max(pauseMs, leapMs) < MIN_PAUSE_MS) return
    startedAt = current.monotonic
    if (pauseMs >= MIN_PAUSE_MS) untakenPauseMs += pauseMs
  }

  return {
    hasLasted(ms) {
      // A caller may be the first to run after a pause.
      notePause()
      return monotonic() - startedAt >= ms
    },
    takePause() {
      notePause()
      const pauseMs = untakenPauseMs
      untakenPauseMs = 0
      return pauseMs
    },
  }
}
