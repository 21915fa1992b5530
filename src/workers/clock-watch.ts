/**
 * Detects that the machine's clock was set, and shifts all stored deadlines by the jump. Also notes pauses of the
 * process.
 * Invariant: a row that was due in a minute is still due in a minute, and an unresolved submit is searched
 * for in the time window in which its POST was sent. With an unshifted clock another app's job could match.
 * A machine that slept is no clock that was set: its wall clock jumps too, and rightly. Nothing is shifted then, or the
 * window would move away from the POST.
 */

import type { Log } from '../observability/log.ts'
import type { Clocks } from '../runtime/clocks.ts'
import type { ContinuousRun } from '../runtime/continuous-run.ts'
import type { Store } from '../store/store.ts'
import { createWorkerLoop, type WorkerLoop } from './worker-loop.ts'

const INTERVAL_MS = 250
/** Smaller jumps come from clock adjustment, or from a process that was busy between two reads. */
const MIN_LEAP_MS = 5000

export function createClockWatch(options: {
  store: Pick<Store, 'followProcessClock'>
  log: Log
  clocks: Clocks
  continuousRun: Pick<ContinuousRun, 'takePause'>
}): WorkerLoop {
  const { store, log, clocks, continuousRun } = options
  const read = () => ({ wall: clocks.wall(), monotonic: clocks.monotonic(), boot: clocks.boot() })
  let last = read()
  let leapMs = 0

  /** How far the wall clock was set since the last read, ms. */
  function readLeap(): number {
    const current = read()
    const wallMs = current.wall - last.wall
    const monotonicMs = current.monotonic - last.monotonic
    const bootMs = current.boot === null || last.boot === null ? null : current.boot - last.boot
    last = current
    // A boot clock that falls behind the monotonic clock is none.
    if (bootMs !== null && bootMs > monotonicMs - MIN_LEAP_MS) return wallMs - bootMs
    // Without a boot clock a leap ahead is taken for a sleep.
    return wallMs - monotonicMs < MIN_LEAP_MS ? wallMs - monotonicMs : 0
  }

  return createWorkerLoop<never>({
    name: 'clock watch',
    async claim() {
      const pauseMs = continuousRun.takePause()
      if (pauseMs > 0)
        log.warn({ ms: Math.round(pauseMs) }, 'the process was stopped, or its machine slept; looking first')
      leapMs += readLeap()
      if (Math.abs(leapMs) < MIN_LEAP_MS) return []
      const shiftMs = Math.round(leapMs)
      log.warn({ ms: shiftMs }, 'the clock was set; deadlines are shifted with it')
      await store.followProcessClock(shiftMs)
      leapMs -= shiftMs
      return []
    },
    perform: async () => {},
    capacity: 1,
    intervalMs: INTERVAL_MS,
    log,
  })
}
