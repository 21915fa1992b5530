/**
 * Writes that are asked for in one turn of the loop share one transaction: its fsync is most of what a write costs.
 * Invariant: each is answered after the commit that has its rows, and sees those asked for before it. One that throws takes
 * back itself alone; where the commit fails nothing of the group is written, and each is told. No transaction is open
 * across an `await`.
 */
import type { Db } from './database.ts'

export interface Group {
  /** @param isNews whether the bell rings for it, once it is on disk */
  write<Answer>(act: () => Answer, isNews: (answer: Answer) => boolean): Promise<Answer>
  /** Whatever still waits is written before this returns. */
  flush(): void
}

/** Takes some 3 ms, in which nothing else is done. */
const MOST = 64

interface Write {
  /** Answers how to tell what came of it, which answers whether that is news. */
  run(): () => boolean
  fail(error: unknown): void
}

export function createGroup({ $client }: Db, ring: () => void): Group {
  const waiting: Write[] = []
  /** In the transaction of all, a savepoint of its own. */
  const alone = $client.transaction((act: () => unknown) => act())
  const together = $client.transaction((writes: readonly Write[]) => writes.map(write => write.run()))

  function commit(): void {
    const writes = waiting.splice(0, MOST)
    if (writes.length === 0) return
    if (waiting.length > 0) setImmediate(commit)
    let tell: (() => boolean)[]
    try {
      tell = together.immediate(writes)
    } catch (error) {
      for (const { fail } of writes) fail(error)
      return
    }
    if (tell.map(each => each()).includes(true)) ring()
  }

  return {
    write: <Answer>(act: () => Answer, isNews: (answer: Answer) => boolean) =>
      new Promise<Answer>((resolve, reject) => {
        const run = () => {
          try {
            const answer = alone(act) as Answer
            return () => {
              resolve(answer)
              return isNews(answer)
            }
          } catch (error) {
            // SQLite gives up the whole transaction where it can't write.
            if (!$client.inTransaction) throw error
            return () => {
              reject(error)
              return false
            }
          }
        }
        // What else has come in this turn is read before it.
        if (waiting.push({ run, fail: reject }) === 1) setImmediate(commit)
      }),

    flush() {
      while (waiting.length > 0) commit()
    },
  }
}
