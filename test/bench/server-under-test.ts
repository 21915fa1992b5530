/**
 * A server and its subscribers, each in its own process. The next events are sent when every subscriber has the last.
 */
import type { ServerAddress } from './load/client.ts'
import type { LoadCommands } from './load/main.ts'
import { type RemoteProcess, startProcess } from './process-rpc.ts'
import type { ServerCommands, ServerName } from './server/main.ts'

export interface ServerUnderTest extends AsyncDisposable {
  name: ServerName
  server: RemoteProcess<ServerCommands>
  load: RemoteProcess<LoadCommands>
  target: ServerAddress
  /** Adds subscribers. Resolves when events reach all of them. */
  addSubscribers(count: number): Promise<void>
  /**
   * Sends events, `burst` per event-loop turn. Resolves when every subscriber has them. Returns the last one's
   * delays, ms.
   */
  send(count: number, burst: number): Promise<{ first: number; last: number }>
}

/** An event that takes longer to reach every subscriber counts as lost. */
const DELIVERY_TIMEOUT_MS = 30_000
/** A subscriber without an event after this time may have subscribed just after it. */
const SUBSCRIBE_CHECK_MS = 1000
const MAX_SUBSCRIBE_CHECKS = 30

export async function startServerUnderTest(name: ServerName): Promise<ServerUnderTest> {
  const server = startProcess<ServerCommands>('server/main.ts', name)
  const load = startProcess<LoadCommands>('load/main.ts')
  const target = await server.call('address')

  async function send(count: number, burst: number, timeoutMs: number) {
    const { last: number, at } = await server.call('publish', count, burst)
    const arrival = await load.call('delivered', number, timeoutMs)
    return arrival && { first: (arrival.first - at) / 1000, last: (arrival.last - at) / 1000 }
  }

  return {
    name,
    server,
    load,
    target,

    async addSubscribers(count) {
      await load.call('open', target, count)
      for (let tries = 0; (await send(1, 1, SUBSCRIBE_CHECK_MS)) === null; tries++)
        if (tries === MAX_SUBSCRIBE_CHECKS) throw new Error(`${name}: some subscribers never get an event`)
    },

    async send(count, burst) {
      const delays = await send(count, burst, DELIVERY_TIMEOUT_MS)
      if (delays === null)
        throw new Error(`${name}: an event did not reach every subscriber within ${DELIVERY_TIMEOUT_MS} ms`)
      return delays
    },

    async [Symbol.asyncDispose]() {
      // The load ends first, since it fails when its server closes.
      await load[Symbol.asyncDispose]()
      await server[Symbol.asyncDispose]()
    },
  }
}
