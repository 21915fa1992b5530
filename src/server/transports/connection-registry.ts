/**
 * Registry of the open connections, WebSockets and event streams, by app.
 * Invariant: a connection counts from `admit` to `remove`. A connection whose credential was revoked is ended
 * within CHECK_INTERVAL_MS.
 */
import { performance } from 'node:perf_hooks'
import { setTimeout } from 'node:timers/promises'
import type { Authenticate, Caller } from '../../auth/authenticate.ts'
import type { AppId } from '../../domain/prediction.ts'
import type { ErrorLog } from '../../graphql/error-mask.ts'
import type { KeepAliveTarget } from './keep-alive.ts'

export type EndReason = 'revoked' | 'restart'

/** The keep-alive pings it as long as it is registered. */
export interface ClientConnection extends KeepAliveTarget {
  caller: Caller
  end(reason: EndReason): void
}

export interface ConnectionRegistry {
  /** Null: the connection is admitted, and counts until `remove`. Otherwise the reason for its rejection. */
  admit(connection: ClientConnection): 'too many' | 'stopping' | null
  remove(connection: ClientConnection): void
  /** All connections, also those that are added while the result is read. */
  connections(): Iterable<ClientConnection>
  /** Rejects new connections, and ends the open ones one by one over at most `maxMs`. */
  drain(maxMs: number): Promise<void>
  close(): void
}

export interface ConnectionRegistryOptions {
  authenticate: Authenticate
  log: ErrorLog
  maxConnectionsPerApp: number
  countRejection(app: AppId, code: 'TOO_MANY_CONNECTIONS'): void
}

const CHECK_INTERVAL_MS = 2000
/** Max connections per access token: one browser must not use up its app's limit. */
const MAX_CONNECTIONS_PER_TOKEN = 50
/** Max time between two ends, so that the clients do not all reconnect to another gateway at once. */
const MAX_DRAIN_SPACING_MS = 10

export function createConnectionRegistry(options: ConnectionRegistryOptions): ConnectionRegistry {
  const { authenticate, log, maxConnectionsPerApp, countRejection } = options
  const byApp = new Map<string, Set<ClientConnection>>()
  const byToken = new Map<string, number>()
  let isStopping = false
  let isChecking = false

  const countToken = ({ grant, credentialHash }: Caller, delta: 1 | -1) => {
    const count = (byToken.get(credentialHash) ?? 0) + delta
    if (grant !== null && count > 0) byToken.set(credentialHash, count)
    else byToken.delete(credentialHash)
  }

  function* connections(): Generator<ClientConnection> {
    for (const appConnections of byApp.values()) yield* appConnections
  }

  async function endRevoked(): Promise<void> {
    if (isChecking) return
    isChecking = true
    try {
      const byCaller = Map.groupBy(connections(), ({ caller }) => caller)
      for (const [caller, itsConnections] of byCaller)
        if (!(await authenticate.isStillValid(caller)))
          for (const connection of itsConnections) connection.end('revoked')
    } catch (error) {
      log.error({ err: error }, 'credential check of open connections failed')
    } finally {
      isChecking = false
    }
  }

  const timer = setInterval(endRevoked, CHECK_INTERVAL_MS)
  timer.unref()

  return {
    admit(connection) {
      if (isStopping) return 'stopping'
      const { caller } = connection
      const { appId } = caller.scope
      const appConnections = byApp.get(appId) ?? new Set()
      if (
        appConnections.size >= maxConnectionsPerApp ||
        (byToken.get(caller.credentialHash) ?? 0) >= MAX_CONNECTIONS_PER_TOKEN
      ) {
        countRejection(appId, 'TOO_MANY_CONNECTIONS')
        return 'too many'
      }
      byApp.set(appId, appConnections.add(connection))
      countToken(caller, 1)
      return null
    },

    remove(connection) {
      const { caller } = connection
      const { appId } = caller.scope
      const appConnections = byApp.get(appId)
      if (appConnections?.delete(connection)) countToken(caller, -1)
      if (appConnections?.size === 0) byApp.delete(appId)
    },

    connections,

    async drain(maxMs) {
      isStopping = true
      const open = [...connections()]
      const spacingMs = Math.min(MAX_DRAIN_SPACING_MS, maxMs / open.length)
      const startedAt = performance.now()
      for (const [i, connection] of open.entries()) {
        const waitMs = startedAt + i * spacingMs - performance.now()
        if (waitMs > 0) await setTimeout(waitMs)
        connection.end('restart')
      }
    },

    close: () => clearInterval(timer),
  }
}
