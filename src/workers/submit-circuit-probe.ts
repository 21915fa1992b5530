/**
 * Makes the open submit circuit half-open, once a read of upstream that began after it opened has succeeded.
 */
import { nextProbeAt } from '../domain/submit-circuit.ts'
import type { Log } from '../observability/log.ts'
import type { Store } from '../store/store.ts'
import type { Upstream } from '../upstream/client.ts'
import { createWorkerLoop, type WorkerLoop } from './worker-loop.ts'

const INTERVAL_MS = 250

export function createSubmitCircuitProbe(options: {
  store: Store
  upstream: Upstream
  log: Log
  now: () => number
  /** Called with each probe's result. */
  onProbe: (isReadable: boolean) => void
}): WorkerLoop {
  const { store, upstream, log, now, onProbe } = options
  return createWorkerLoop({
    name: 'submit circuit probe',
    async claim() {
      const at = now()
      const circuit = await store.claimCircuitProbe(at, ({ since }) => nextProbeAt(since, at))
      return circuit === null ? [] : [circuit]
    },
    async perform(circuit, signal) {
      const logFields = { reason: circuit.reason, ms: now() - circuit.since }
      const isReadable = await upstream.probe(signal)
      if (signal.aborted) return
      onProbe(isReadable)
      if (!isReadable) log.warn(logFields, 'submit circuit stays open: upstream could not be read')
      else if (await store.halfOpenCircuit(circuit.version))
        log.info(logFields, 'upstream can be read again; submit circuit is half-open: one submit at a time')
    },
    capacity: 1,
    intervalMs: INTERVAL_MS,
    log,
  })
}
