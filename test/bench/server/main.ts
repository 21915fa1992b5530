/**
 * The process of one server, named on the command line. It numbers the events and measures its own CPU and memory.
 */
import { setImmediate as turn } from 'node:timers/promises'
import { microseconds } from '../clock.ts'
import { serveCommands } from '../process-rpc.ts'
import type { BenchServer } from './bench-server.ts'

/** Imported on demand, so that no server loads the code of another. */
const SERVERS = {
  bare: () => import('./bare.ts'),
  stock: () => import('./stock.ts'),
  ours: () => import('./ours.ts'),
}
export type ServerName = keyof typeof SERVERS

const starting: Promise<BenchServer> = SERVERS[process.argv[2] as ServerName]().then(({ start }) => start())
let published = 0

const commands = {
  async address() {
    const { url, authorization } = await starting
    return { url, authorization }
  },

  /** Publishes the next `count` events, `burst` per event-loop turn. `at` is the moment before the first. */
  async publish(count: number, burst: number) {
    const { publish } = await starting
    const at = microseconds()
    const last = published + count
    while (published < last) {
      const numbers = Array.from({ length: Math.min(burst, last - published) }, (_, i) => published + i + 1)
      published += numbers.length
      await publish(numbers)
      if (published < last) await turn()
    }
    return { last, at }
  },

  /** User and system CPU of the whole process, in microseconds. */
  cpu() {
    const { user, system } = process.cpuUsage()
    return user + system
  },

  /** Bytes, with garbage. */
  rss: () => process.memoryUsage.rss(),

  /** Bytes, after garbage collection. */
  async memory() {
    for (let i = 0; i < 3; i++) {
      await global.gc!({ type: 'major', execution: 'sync', flavor: 'last-resort' })
      await turn()
    }
    const { rss, heapUsed } = process.memoryUsage()
    return { rss, heap: heapUsed }
  },
}

export type ServerCommands = typeof commands
serveCommands(commands)
