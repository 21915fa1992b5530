/**
 * Records the SQL statements that run.
 */
import Database from 'better-sqlite3'
import { vi } from 'vitest'

const memory = new Database(':memory:')
/** The prototype of every statement, those of transactions too. */
export const Statement: Database.Statement = Object.getPrototypeOf(memory.prepare('select 1'))
memory.close()

/** Returns the statements' texts, in order. */
export async function recordStatements(run: () => Promise<unknown>): Promise<string[]> {
  const spies = (['all', 'get', 'run'] as const).map(name => vi.spyOn(Statement, name))
  try {
    await run()
    return spies
      .flatMap(({ mock }) =>
        mock.contexts.map((executed, i) => ({
          text: (executed as Database.Statement).source,
          order: mock.invocationCallOrder[i]!,
        })),
      )
      .sort((a, b) => a.order - b.order)
      .map(({ text }) => text)
  } finally {
    for (const spy of spies) spy.mockRestore()
  }
}
