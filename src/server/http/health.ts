/**
 * Whether the process lives, and whether it should be sent requests; and how it gets on with upstream, which is no reason
 * not to send it any. Tells nothing of any app.
 */
import type { ServerResponse } from 'node:http'
import type { SubmitCircuit } from '../../domain/submit-circuit.ts'
import type { Store } from '../../store/store.ts'

export interface Health {
  live(response: ServerResponse): void
  ready(response: ServerResponse): Promise<void>
  /** From here on it is not ready. */
  drain(): void
}

/** @param isUpstreamReadable whether looks at upstream go well */
export function createHealth(store: Store, isUpstreamReadable: () => boolean): Health {
  let draining = false

  const sendJson = (response: ServerResponse, status: number, body: object) =>
    void response
      .writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' })
      .end(`${JSON.stringify(body)}\n`)

  return {
    live: response => sendJson(response, 200, { status: 'live' }),

    async ready(response) {
      const database = await store.ping().then(
        () => 'ok',
        () => 'unavailable',
      )
      if (draining) return sendJson(response, 503, { status: 'stopping' })
      if (database !== 'ok') return sendJson(response, 503, { status: 'unavailable', database })
      const [submitCircuit, concurrencyLimit] = [await store.submitCircuit(), await store.concurrencyLimit()]
      sendJson(response, 200, {
        status: 'ready',
        database,
        submits: submitsOf(submitCircuit),
        // Lowered, for upstream wanted fewer.
        ...(concurrencyLimit !== null && { concurrency: concurrencyLimit.concurrency }),
        reads: isUpstreamReadable() ? 'on' : 'failing',
      })
    },

    drain() {
      draining = true
    },
  }
}

/** `closed` is the normal state. `reason` says why the circuit opened. */
const submitsOf = (pause: SubmitCircuit | null) =>
  pause === null
    ? { state: 'closed' }
    : { state: pause.halfOpen ? 'half-open' : 'open', reason: pause.reason }
