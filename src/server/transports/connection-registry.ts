/**
 * Who is connected: sockets and event streams that were let in, app by app.
 * Invariant: what was admitted counts until it leaves. One whose key no longer stands is told to end within CHECK_MS.
 */
import { performance } from 'node:perf_hooks'
import { setTimeout } from 'node:timers/promises'
import type { Authenticate, Caller } from '../../auth/authenticate.ts'
import type { AppId } from '../../domain/prediction.ts'
import type { ErrorLog } from '../../graphql/error-mask.ts'

export type Ending = 'revoked' | 'restart'

export interface Connection {
  caller: Caller
  end(why: Ending): void
}

export interface Connections {
  /** Why not, or null: it is in, and counts until `leave`. */
  admit(connection: Connection): 'too many' | 'stopping' | null
  leave(connection: Connection): void
  /** Admits nobody more and ends each, one after the other, over at most `ms`. */
  drain(ms: number): Promise<void>
  close(): void
}

export interface ConnectionsOptions {
  authenticate: Authenticate
  log: ErrorLog
  mostPerApp: number
  refused(app: AppId, code: 'TOO_MANY_CONNECTIONS'): void
}

const CHECK_MS = 2000
/** Of an app's: one browser must leave the others theirs. */
const MOST_PER_TOKEN = 50
/** A few are ended quicker than many: so far apart no gateway behind this one is stormed. */
const APART_MS = 10

export function createConnections(options: ConnectionsOptions): Connections {
  const { authenticate, log, mostPerApp, refused } = options
  const byApp = new Map<string, Set<Connection>>()
  const byToken = new Map<string, number>()
  let stopping = false
  let checking = false

  const countToken = ({ grant, hash }: Caller, by: 1 | -1) => {
    const count = (byToken.get(hash) ?? 0) + by
    if (grant !== null && count > 0) byToken.set(hash, count)
    else byToken.delete(hash)
  }

  const all = () => [...byApp.values()].flatMap(some => [...some])

  async function check(): Promise<void> {
    if (checking) return
    checking = true
    try {
      const byCaller = Map.groupBy(all(), ({ caller }) => caller)
      for (const [caller, same] of byCaller)
        if (!(await authenticate.stands(caller))) for (const connection of same) connection.end('revoked')
    } catch (error) {
      log.error({ err: error }, 'the keys of open connections could not be looked up')
    } finally {
      checking = false
    }
  }

  const timer = setInterval(check, CHECK_MS)
  timer.unref()

  return {
    admit(connection) {
      if (stopping) return 'stopping'
      const { caller } = connection
      const { appId } = caller.scope
      const some = byApp.get(appId) ?? new Set()
      if (some.size >= mostPerApp || (byToken.get(caller.hash) ?? 0) >= MOST_PER_TOKEN) {
        refused(appId, 'TOO_MANY_CONNECTIONS')
        return 'too many'
      }
      byApp.set(appId, some.add(connection))
      countToken(caller, 1)
      return null
    },

    leave(connection) {
      const { caller } = connection
      const { appId } = caller.scope
      const some = byApp.get(appId)
      if (some?.delete(connection)) countToken(caller, -1)
      if (some?.size === 0) byApp.delete(appId)
    },

    async drain(ms) {
      stopping = true
      const connections = all()
      const apart = Math.min(APART_MS, ms / connections.length)
      const begun = performance.now()
      for (const [i, connection] of connections.entries()) {
        const ahead = begun + i * apart - performance.now()
        if (ahead > 0) await setTimeout(ahead)
        connection.end('restart')
      }
    },

    close: () => clearInterval(timer),
  }
}
