/**
 * A server and its subscribers, each a process of its own, and the pace between them: the next events go out when
 * everybody has the last.
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
  /** So many more subscribers; resolves when events reach everybody. */
  addSubscribers(count: number): Promise<void>
  /** Events, `burst` a turn of the loop; resolves when everybody has them. The last one's delays in milliseconds. */
  send(count: number, burst: number): Promise<{ first: number; last: number }>
}

/** An event that takes longer to reach everybody is lost. */
const DELIVERY_TIMEOUT_MS = 30_000
/** Whoever has no event after this time may have subscribed just after it. */
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
        throw new Error(`${name}: an event has not reached everybody in ${DELIVERY_TIMEOUT_MS} ms`)
      return delays
    },

    async [Symbol.asyncDispose]() {
      // The load first: it would complain of a server that goes away.
      await load[Symbol.asyncDispose]()
      await server[Symbol.asyncDispose]()
    },
  }
}
