/**
 * Detects that the machine's clock was set, and shifts all stored deadlines by the jump.
 * Invariant: a row that was due in a minute is still due in a minute, and an unresolved submit is searched
 * for in the time window in which its POST was sent. With an unshifted clock another app's job could match.
 */

import type { Log } from '../observability/log.ts'
import type { Store } from '../store/store.ts'
import { createWorkerLoop, type WorkerLoop } from './worker-loop.ts'

const INTERVAL_MS = 250
/** Smaller jumps come from clock adjustment, or from a process that was busy between two reads. */
const MIN_LEAP_MS = 5000

/** @param monotonic a monotonic clock, ms */
export function createClockWatch(options: {
  store: Pick<Store, 'followProcessClock'>
  log: Log
  now: () => number
  monotonic: () => number
}): WorkerLoop {
  const { store, log, now, monotonic } = options
  let offsetMs = now() - monotonic()
  return createWorkerLoop<never>({
    name: 'clock watch',
    async claim() {
      const leapMs = now() - monotonic() - offsetMs
      if (Math.abs(leapMs) < MIN_LEAP_MS) return []
      log.warn({ ms: Math.round(leapMs) }, 'the clock was set; deadlines are shifted with it')
      await store.followProcessClock(Math.round(leapMs))
      offsetMs += leapMs
      return []
    },
    perform: async () => {},
    capacity: 1,
    intervalMs: INTERVAL_MS,
    log,
  })
}
