/**
 * Writes that are asked for in one turn of the loop share one transaction: its fsync is most of what a write costs.
 * Invariant: each is answered after the commit that has its rows, and sees those asked for before it. One that throws takes
 * back itself alone; where the commit fails nothing of the group is written, and each is told. No transaction is open
 * across an `await`.
 */
import type { Db } from './connection.ts'

export interface Group {
  /**
   * @param act may run twice, if another one throws; what it wrote the first time is gone by then
   * @param isNews whether the bell rings for it, once it is on disk
   */
  write<Answer>(act: () => Answer, isNews: (answer: Answer) => boolean): Promise<Answer>
  /** Whatever still waits is written before this returns. */
  flush(): void
}

/** Takes some 3 ms, in which nothing else is done. */
const MOST = 64

interface Write {
  /** Answers how to tell what came of it, which answers whether that is news. */
  run(): () => boolean
  /** The same, and what throws is taken back and told. */
  runApart(): () => boolean
  fail(error: unknown): void
}

export function createGroup({ $client }: Db, ring: () => void): Group {
  const waiting: Write[] = []
  const together = $client.transaction((writes: readonly Write[], run: (write: Write) => () => boolean) =>
    writes.map(run),
  )
  /** In the transaction of all, a savepoint of its own. */
  const apart = $client.transaction((act: () => unknown) => act())

  function commit(): void {
    const writes = waiting.splice(0, MOST)
    if (writes.length === 0) return
    if (waiting.length > 0) setImmediate(commit)
    let tell: (() => boolean)[]
    try {
      tell = written(writes)
    } catch (error) {
      for (const { fail } of writes) fail(error)
      return
    }
    if (tell.map(each => each()).includes(true)) ring()
  }

  /** Savepoints are a fifth of a write: they are made where one has thrown, and never after a commit that failed. */
  function written(writes: readonly Write[]): (() => boolean)[] {
    let hasThrown = false
    try {
      return together.immediate(writes, write => {
        try {
          return write.run()
        } catch (error) {
          hasThrown = true
          throw error
        }
      })
    } catch (error) {
      if (!hasThrown) throw error
      return together.immediate(writes, write => write.runApart())
    }
  }

  return {
    write: <Answer>(act: () => Answer, isNews: (answer: Answer) => boolean) =>
      new Promise<Answer>((resolve, reject) => {
        const told = (answer: Answer) => () => {
          resolve(answer)
          return isNews(answer)
        }
        const run = () => told(act())
        const runApart = () => {
          try {
            return told(apart(act) as Answer)
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
        if (waiting.push({ run, runApart, fail: reject }) === 1) setImmediate(commit)
      }),

    flush() {
      while (waiting.length > 0) commit()
    },
  }
}
