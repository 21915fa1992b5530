/**
 * Ends a gateway in an order in which no answer is lost: a client without an answer sends its request again, and may pay
 * twice.
 */
import type { Server } from 'node:http'

/** Cleanups run last first: at `run`, or when a start fails half-way. */
export interface CleanupStack {
  push(cleanup: () => Promise<void> | void): void
  run(): Promise<void>
}

/** Interval at which connections that have become idle are closed. */
const IDLE_SWEEP_INTERVAL_MS = 20

export function createCleanupStack(): CleanupStack {
  const cleanups: (() => Promise<void> | void)[] = []
  return {
    push: cleanup => void cleanups.push(cleanup),
    async run() {
      for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
    },
  }
}

/** Closes the server once every request has its answer; after `timeoutMs` the connections that are left are cut. */
export async function closeAfterResponses(server: Server, timeoutMs: number): Promise<void> {
  const closed = new Promise(resolve => server.close(resolve))
  const forceTimer = setTimeout(() => server.closeAllConnections(), timeoutMs)
  // Node closes connections that are idle now, and not those that become idle later.
  const idleTimer = setInterval(() => server.closeIdleConnections(), IDLE_SWEEP_INTERVAL_MS)
  await closed
  clearTimeout(forceTimer)
  clearInterval(idleTimer)
}
