/**
 * Ends a gateway in an order in which no answer is lost: a client without an answer sends its request again, and may pay
 * twice.
 */
import type { Server } from 'node:http'
import type { ServerParts } from '../server/server.ts'
import type { Workers } from '../workers/workers.ts'

/** Time for POSTs in progress to be answered. */
const DRAIN_TIMEOUT_MS = 4000
/** Time for a socket to answer its close frame, and for a request in progress to be answered. */
const CLOSE_TIMEOUT_MS = 500
/** Interval at which connections that have become idle are closed. */
const IDLE_SWEEP_INTERVAL_MS = 20

/**
 * Ends traffic and workers. While connections are ended one after the other, the server still answers, and its health
 * checks report that it is not ready. Takes at most `DRAIN_TIMEOUT_MS`.
 */
export async function shutDown(
  { httpServer, webSockets, connectionRegistry, health }: Omit<ServerParts, 'close'>,
  workers: Pick<Workers, 'stop'>,
): Promise<void> {
  health.drain()
  const deadline = AbortSignal.timeout(DRAIN_TIMEOUT_MS)
  // A client must not send its next request on a connection that is about to close.
  httpServer.prependListener('request', (_, response) => response.setHeader('Connection', 'close'))
  const stopped = workers.stop(deadline)
  webSockets.stopAccepting()
  await connectionRegistry.drain(DRAIN_TIMEOUT_MS - 2 * CLOSE_TIMEOUT_MS)
  await Promise.all([
    stopped,
    webSockets.close(CLOSE_TIMEOUT_MS),
    closeAfterResponses(httpServer, CLOSE_TIMEOUT_MS),
  ])
}

/** Closes the server once every request has its answer; after `timeoutMs` the connections that are left are cut. */
async function closeAfterResponses(server: Server, timeoutMs: number): Promise<void> {
  const closed = new Promise(resolve => server.close(resolve))
  const forceTimer = setTimeout(() => server.closeAllConnections(), timeoutMs)
  // Node closes connections that are idle now, and not those that become idle later.
  const idleTimer = setInterval(() => server.closeIdleConnections(), IDLE_SWEEP_INTERVAL_MS)
  await closed
  clearTimeout(forceTimer)
  clearInterval(idleTimer)
}
