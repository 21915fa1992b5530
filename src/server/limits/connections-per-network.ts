/**
 * Max concurrent connections per client network: sockets, or behind a trusted proxy each client's requests
 * and upgrades.
 * Invariant: an admitted connection counts until it emits `close`.
 */
import type { EventEmitter } from 'node:events'

/** `Retry-After` of a request above the limit. */
export const CONNECTION_RETRY_AFTER_MS = 1000

export interface ConnectionLimit {
  /** Returns whether the connection is within the limit. If so, it counts until it closes. */
  admit(network: string, connection: EventEmitter): boolean
}

export function createConnectionLimit(maxConnectionsPerAddress: number): ConnectionLimit {
  const counts = new Map<string, number>()

  return {
    admit(network, connection) {
      const count = counts.get(network) ?? 0
      if (count >= maxConnectionsPerAddress) return false
      counts.set(network, count + 1)
      connection.once('close', () => {
        const left = counts.get(network)! - 1
        if (left > 0) counts.set(network, left)
        else counts.delete(network)
      })
      return true
    },
  }
}
