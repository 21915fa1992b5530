/**
 * The process of one server, named on the command line before the folder of its database. It measures its own CPU.
 */
import { serveCommands } from '../process-rpc.ts'
import type { ServerName } from '../server/main.ts'
import type { BenchServer } from './bench-server.ts'

/** Imported on demand, so that no server loads the code of another. */
const SERVERS = {
  bare: () => import('./bare.ts'),
  stock: () => import('./stock.ts'),
  ours: () => import('./ours.ts'),
} satisfies Record<ServerName, unknown>

const [, , name, folder = ''] = process.argv
const starting: Promise<BenchServer> = SERVERS[name as ServerName]().then(({ start }) => start(folder))

const commands = {
  address: () => starting,

  /** User and system CPU of the whole process, in microseconds. */
  cpu() {
    const { user, system } = process.cpuUsage()
    return user + system
  },
}

export type ServerCommands = typeof commands
serveCommands(commands)
