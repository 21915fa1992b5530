/**
 * The process of one server, named on the command line beside the folder of its database. It alone knows what it costs.
 */
import { serveCommands } from '../process-rpc.ts'
import type { ServerName } from '../server/main.ts'
import type { BenchServer } from './bench-server.ts'

/** Imported one by one: no server carries the code of another. */
const SERVERS = {
  bare: () => import('./bare.ts'),
  stock: () => import('./stock.ts'),
  ours: () => import('./ours.ts'),
} satisfies Record<ServerName, unknown>

const [, , name, folder = ''] = process.argv
const starting: Promise<BenchServer> = SERVERS[name as ServerName]().then(({ start }) => start(folder))

const commands = {
  address: () => starting,

  /** User and system, of the whole process, in microseconds. */
  cpu() {
    const { user, system } = process.cpuUsage()
    return user + system
  },
}

export type ServerCommands = typeof commands
serveCommands(commands)
