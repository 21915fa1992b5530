/**
 * A server on a database of its own, and what its requests cost it.
 */
import { type Remote, start } from '../remote.ts'
import type { Name } from '../server/main.ts'
import type { Contender } from './contender.ts'
import type { LoadCommands } from './load.ts'
import type { Question } from './questions.ts'
import type { ServerCommands } from './server.ts'

export interface Party extends AsyncDisposable {
  name: Name
  target: Contender
  /** So many in flight, for so long: CPU of the server, microseconds a request, and requests a second. */
  work(question: Question, inFlight: number, ms: number): Promise<{ cpu: number; rate: number }>
  answers(question: Question, count: number): Promise<string[]>
}

/** @param folder of its database */
export async function createParty(name: Name, folder: string, load: Remote<LoadCommands>): Promise<Party> {
  const server = start<ServerCommands>('requests/server.ts', name, folder)
  const target = await server.ask('address')

  return {
    name,
    target,

    async work(question, inFlight, ms) {
      await load.ask('open', target, question, inFlight)
      const before = await server.ask('cpu')
      const { answers, microseconds } = await load.ask('run', ms)
      const spent = (await server.ask('cpu')) - before
      await load.ask('close')
      return { cpu: spent / answers, rate: (answers / microseconds) * 1_000_000 }
    },

    async answers(question, count) {
      await load.ask('open', target, question, 1)
      const bodies = await load.ask('answers', count)
      await load.ask('close')
      return bodies
    },

    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  }
}
