/**
 * A server and its subscribers, each a process of its own, and the pace between them: the next events go out when
 * everybody has the last.
 */
import type { Target } from './load/client.ts'
import type { LoadCommands } from './load/main.ts'
import { type Remote, start } from './remote.ts'
import type { Name, ServerCommands } from './server/main.ts'

export interface Contestant extends AsyncDisposable {
  name: Name
  server: Remote<ServerCommands>
  load: Remote<LoadCommands>
  target: Target
  /** So many more subscribers; resolves when events reach everybody. */
  join(count: number): Promise<void>
  /** Events, `burst` a turn of the loop; resolves when everybody has them. The last one's delays in milliseconds. */
  send(count: number, burst: number): Promise<{ first: number; last: number }>
}

/** An event that takes longer to reach everybody is lost. */
const PATIENCE_MS = 30_000
/** Whoever has no event after this time may have subscribed just after it. */
const JOINING_MS = 1000
const JOININGS = 30

export async function createContestant(name: Name): Promise<Contestant> {
  const server = start<ServerCommands>('server/main.ts', name)
  const load = start<LoadCommands>('load/main.ts')
  const target = await server.ask('address')

  async function send(count: number, burst: number, patienceMs: number) {
    const { last: number, at } = await server.ask('publish', count, burst)
    const arrival = await load.ask('delivered', number, patienceMs)
    return arrival && { first: (arrival.first - at) / 1000, last: (arrival.last - at) / 1000 }
  }

  return {
    name,
    server,
    load,
    target,

    async join(count) {
      await load.ask('open', target, count)
      for (let tries = 0; (await send(1, 1, JOINING_MS)) === null; tries++)
        if (tries === JOININGS) throw new Error(`${name}: some subscribers never get an event`)
    },

    async send(count, burst) {
      const delays = await send(count, burst, PATIENCE_MS)
      if (delays === null) throw new Error(`${name}: an event has not reached everybody in ${PATIENCE_MS} ms`)
      return delays
    },

    async [Symbol.asyncDispose]() {
      // The load first: it would complain of a server that goes away.
      await load[Symbol.asyncDispose]()
      await server[Symbol.asyncDispose]()
    },
  }
}
