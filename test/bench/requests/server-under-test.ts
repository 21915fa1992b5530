/**
 * A server on its own database, and the cost of its requests.
 */
import { type RemoteProcess, startProcess } from '../process-rpc.ts'
import type { ServerName } from '../server/main.ts'
import type { BenchServer } from './bench-server.ts'
import type { LoadCommands } from './load.ts'
import type { BenchOperation } from './operations.ts'
import type { ServerCommands } from './server.ts'

export interface ServerUnderTest extends AsyncDisposable {
  name: ServerName
  target: BenchServer
  /**
   * Keeps `inFlight` requests in flight for `ms`. Returns the server's CPU, microseconds a request, and requests a
   * second.
   */
  measure(operation: BenchOperation, inFlight: number, ms: number): Promise<{ cpu: number; rate: number }>
  answers(operation: BenchOperation, count: number): Promise<string[]>
}

/** @param folder folder of its database */
export async function startServerUnderTest(
  name: ServerName,
  folder: string,
  load: RemoteProcess<LoadCommands>,
): Promise<ServerUnderTest> {
  const server = startProcess<ServerCommands>('requests/server.ts', name, folder)
  const target = await server.call('address')

  return {
    name,
    target,

    async measure(operation, inFlight, ms) {
      await load.call('open', target, operation, inFlight)
      const before = await server.call('cpu')
      const { answers, microseconds } = await load.call('run', ms)
      const cpuSpent = (await server.call('cpu')) - before
      await load.call('close')
      return { cpu: cpuSpent / answers, rate: (answers / microseconds) * 1_000_000 }
    },

    async answers(operation, count) {
      await load.call('open', target, operation, 1)
      const bodies = await load.call('answers', count)
      await load.call('close')
      return bodies
    },

    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  }
}
