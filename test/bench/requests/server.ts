/**
 * The process of one server, named on the command line beside the folder of its database. It alone knows what it costs.
 */
import { answer } from '../remote.ts'
import type { Name } from '../server/main.ts'
import type { Contender } from './contender.ts'

/** Imported one by one: no server carries the code of another. */
const CONTENDERS = {
  bare: () => import('./bare.ts'),
  stock: () => import('./stock.ts'),
  ours: () => import('./ours.ts'),
} satisfies Record<Name, unknown>

const [, , name, folder = ''] = process.argv
const starting: Promise<Contender> = CONTENDERS[name as Name]().then(({ start }) => start(folder))

const commands = {
  address: () => starting,

  /** User and system, of the whole process, in microseconds. */
  cpu() {
    const { user, system } = process.cpuUsage()
    return user + system
  },
}

export type ServerCommands = typeof commands
answer(commands)
