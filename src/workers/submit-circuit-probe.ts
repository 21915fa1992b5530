/**
 * Turns a pause of submits into a trial, once a read of upstream that began after the pause has succeeded.
 */
import type { Store } from '../store/store.ts'
import type { Upstream } from '../upstream/client.ts'
import { nextProbe } from './poll-schedule.ts'
import { createLoop, type Log, type Loop } from './worker-loop.ts'

const INTERVAL_MS = 250

export function createProbe(options: {
  store: Store
  upstream: Upstream
  log: Log
  now: () => number
}): Loop {
  const { store, upstream, log, now } = options
  return createLoop({
    name: 'probe',
    async claim() {
      const at = now()
      const pause = await store.claimProbe(at, ({ since }) => nextProbe(since, at))
      return pause === null ? [] : [pause]
    },
    async perform(pause, signal) {
      const told = { reason: pause.reason, ms: now() - pause.since }
      if (!(await upstream.probe(signal))) log.debug(told, 'submits stay paused: upstream could not be read')
      else if (await store.resume(pause.version))
        log.info(told, 'upstream can be read again; submits go on, one alone at first')
    },
    capacity: 1,
    intervalMs: INTERVAL_MS,
    log,
  })
}
