/**
 * Liveness and readiness of the process. Readiness fails while a submit could not be stored. It also reports the state
 * of upstream, which never makes it fail.
 * Invariant: the responses contain nothing about any app.
 */
import type { ServerResponse } from 'node:http'
import { coversAllJobs, type Hold } from '../../domain/hold.ts'
import type { SubmitCircuit } from '../../domain/submit-circuit.ts'
import type { Store } from '../../store/store.ts'

export interface Health {
  live(response: ServerResponse): void
  ready(response: ServerResponse): Promise<void>
  /** Readiness fails from now on. */
  drain(): void
}

/**
 * @param areReadsOn whether upstream can be read, as far as polls and probes tell
 * @param maxConnections as it is in force, which may be less than configured
 */
export function createHealth(store: Store, areReadsOn: () => boolean, maxConnections: number): Health {
  let draining = false

  const sendJson = (response: ServerResponse, status: number, body: object) =>
    void response
      .writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' })
      .end(`${JSON.stringify(body)}\n`)

  return {
    live: response => sendJson(response, 200, { status: 'live' }),

    async ready(response) {
      const database = await store.ping().catch(() => 'unavailable')
      if (draining) return sendJson(response, 503, { status: 'stopping' })
      if (database !== 'ok') return sendJson(response, 503, { status: 'unavailable', database })
      const holds = await store.listHolds()
      const [submitCircuit, concurrencyLimit] = [await store.submitCircuit(), await store.concurrencyLimit()]
      sendJson(response, 200, {
        status: 'ready',
        database,
        submits: describeSubmits(submitCircuit, holds),
        // Present only while upstream throttles, and the limit is below the configured one.
        ...(concurrencyLimit !== null && { concurrency: concurrencyLimit.concurrency }),
        reads: areReadsOn() ? 'on' : 'failing',
        maxConnections,
      })
    },

    drain() {
      draining = true
    },
  }
}

/**
 * `held`: an operator has stopped all submits; the circuit is then beside it, if it is not closed. A hold of some jobs is
 * only said to be there: the rest would name an app.
 */
function describeSubmits(circuit: SubmitCircuit | null, holds: readonly Hold[]): object {
  const hold = holds.find(coversAllJobs)
  if (hold !== undefined) {
    const since = new Date(hold.since).toISOString()
    const circuitField = circuit !== null && { circuit: describeSubmitCircuit(circuit) }
    return { state: 'held', reason: hold.reason, since, ...circuitField }
  }
  return { ...describeSubmitCircuit(circuit), ...(holds.length > 0 && { someHeld: true }) }
}

/** `closed` is the normal state. `reason` says why the circuit opened. */
const describeSubmitCircuit = (circuit: SubmitCircuit | null) =>
  circuit === null
    ? { state: 'closed' }
    : { state: circuit.halfOpen ? 'half-open' : 'open', reason: circuit.reason }
