/**
 * Notices that the machine's clock was set, and moves what was written by the old time into the new one.
 * Invariant: what has waited for a moment waits for the same moment still, and a POST without an answer is looked for
 * when it was sent; by a clock that leapt in between one app's job could pass for another's.
 */
import type { Store } from '../store/store.ts'
import { createWorkerLoop, type Log, type WorkerLoop } from './worker-loop.ts'

const INTERVAL_MS = 250
/** Less is a clock that is trimmed, or a process that was busy between two reads. */
const MIN_LEAP_MS = 5000

/** @param monotonic a clock that nobody sets, ms */
export function createClockWatch(options: {
  store: Pick<Store, 'shiftDeadlines'>
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
      log.warn({ ms: Math.round(leapMs) }, 'the clock was set; what is due is moved with it')
      await store.shiftDeadlines(Math.round(leapMs))
      offsetMs += leapMs
      return []
    },
    perform: async () => {},
    capacity: 1,
    intervalMs: INTERVAL_MS,
    log,
  })
}
