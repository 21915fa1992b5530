/**
 * Whether the process lives, and whether it should be sent requests; and how it gets on with upstream, which is no reason
 * not to send it any. Tells nothing of any app.
 */
import type { ServerResponse } from 'node:http'
import type { StandingPause } from '../../domain/submit-circuit.ts'
import type { Store } from '../../store/store.ts'

export interface Health {
  live(response: ServerResponse): void
  ready(response: ServerResponse): Promise<void>
  /** From here on it is not ready. */
  drain(): void
}

/** @param reads whether looks at upstream go well */
export function createHealth(store: Store, reads: () => boolean): Health {
  let draining = false

  const answer = (response: ServerResponse, status: number, body: object) =>
    void response
      .writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' })
      .end(`${JSON.stringify(body)}\n`)

  return {
    live: response => answer(response, 200, { status: 'live' }),

    async ready(response) {
      const database = await store.ping().then(
        () => 'ok',
        () => 'unavailable',
      )
      if (draining) return answer(response, 503, { status: 'stopping' })
      if (database !== 'ok') return answer(response, 503, { status: 'unavailable', database })
      const [pause, pace] = [await store.paused(), await store.pace()]
      answer(response, 200, {
        status: 'ready',
        database,
        submits: submitsOf(pause),
        // Lowered, for upstream wanted fewer.
        ...(pace !== null && { concurrency: pace.concurrency }),
        reads: reads() ? 'on' : 'failing',
      })
    },

    drain() {
      draining = true
    },
  }
}

/** `closed` is the normal state. `reason` says why the circuit opened. */
const submitsOf = (pause: StandingPause | null) =>
  pause === null ? { state: 'closed' } : { state: pause.trial ? 'half-open' : 'open', reason: pause.reason }
