/**
 * Writes that are asked for in one turn of the loop share one transaction: its fsync is most of what a write costs.
 * Invariant: each is answered after the commit that has its rows, and sees those asked for before it. One that throws takes
 * back itself alone; where the commit fails nothing of the group is written, and each is told. No transaction is open
 * across an `await`.
 */
import type { Db } from './connection.ts'

export interface GroupCommit {
  /**
   * @param action may run twice, if another one throws; what it wrote the first time is gone by then
   * @param shouldNotify whether the bell rings for it, once it is on disk
   */
  write<Result>(action: () => Result, shouldNotify: (result: Result) => boolean): Promise<Result>
  /** Whatever still waits is written before this returns. */
  flush(): void
}

/** Takes some 3 ms, in which nothing else is done. */
const MAX_WRITES_PER_COMMIT = 64

interface Write {
  /** Answers how to tell what came of it, which answers whether that is news. */
  run(): () => boolean
  /** The same, and what throws is taken back and told. */
  runInSavepoint(): () => boolean
  fail(error: unknown): void
}

export function createGroupCommit({ $client }: Db, notify: () => void): GroupCommit {
  const pending: Write[] = []
  const runTogether = $client.transaction((writes: readonly Write[], run: (write: Write) => () => boolean) =>
    writes.map(run),
  )
  /** In the transaction of all, a savepoint of its own. */
  const inSavepoint = $client.transaction((action: () => unknown) => action())

  function commit(): void {
    const writes = pending.splice(0, MAX_WRITES_PER_COMMIT)
    if (writes.length === 0) return
    if (pending.length > 0) setImmediate(commit)
    let settlers: (() => boolean)[]
    try {
      settlers = runAll(writes)
    } catch (error) {
      for (const { fail } of writes) fail(error)
      return
    }
    if (settlers.map(settle => settle()).includes(true)) notify()
  }

  /** Savepoints are a fifth of a write: they are made where one has thrown, and never after a commit that failed. */
  function runAll(writes: readonly Write[]): (() => boolean)[] {
    let hasThrown = false
    try {
      return runTogether.immediate(writes, write => {
        try {
          return write.run()
        } catch (error) {
          hasThrown = true
          throw error
        }
      })
    } catch (error) {
      if (!hasThrown) throw error
      return runTogether.immediate(writes, write => write.runInSavepoint())
    }
  }

  return {
    write: <Result>(action: () => Result, shouldNotify: (result: Result) => boolean) =>
      new Promise<Result>((resolve, reject) => {
        const settleWith = (result: Result) => () => {
          resolve(result)
          return shouldNotify(result)
        }
        const run = () => settleWith(action())
        const runInSavepoint = () => {
          try {
            return settleWith(inSavepoint(action) as Result)
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
        if (pending.push({ run, runInSavepoint, fail: reject }) === 1) setImmediate(commit)
      }),

    flush() {
      while (pending.length > 0) commit()
    },
  }
}
