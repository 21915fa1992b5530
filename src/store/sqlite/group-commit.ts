/**
 * Group commit: writes requested in one iteration of the event loop share one transaction, because its fsync is
 * most of the cost of a write.
 * Invariant: each write resolves after the commit of its rows, and sees the writes requested before it. A write that
 * throws is rolled back alone. If the commit fails, nothing is written and every write of the group is rejected. No
 * transaction is open across an `await`.
 */
import type { Db } from './connection.ts'

export interface GroupCommit {
  /**
   * @param action may run twice, if another write of the group throws; its first writes are rolled back by then
   * @param shouldNotify whether to notify once the result is on disk
   */
  write<Result>(action: () => Result, shouldNotify: (result: Result) => boolean): Promise<Result>
  /** Commits all pending writes before it returns. */
  flush(): void
}

/** A commit of so many writes blocks the event loop for about 3 ms. */
const MAX_WRITES_PER_COMMIT = 64

interface Write {
  /** Returns the function that settles the promise. That one returns whether to notify. */
  run(): () => boolean
  /** Like `run`, in a savepoint: a write that throws is rolled back and rejected. */
  runInSavepoint(): () => boolean
  fail(error: unknown): void
}

export function createGroupCommit({ $client }: Db, notify: () => void): GroupCommit {
  const pending: Write[] = []
  const runTogether = $client.transaction((writes: readonly Write[], run: (write: Write) => () => boolean) =>
    writes.map(run),
  )
  /** A savepoint, because it runs inside the shared transaction. */
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

  /**
   * Savepoints cost a fifth of a write: they are used only after a write has thrown, never after a commit has failed.
   */
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
            // SQLite rolls back the whole transaction if it can't write.
            if (!$client.inTransaction) throw error
            return () => {
              reject(error)
              return false
            }
          }
        }
        // `setImmediate`: other input that has arrived in this iteration of the event loop is read first.
        if (pending.push({ run, runInSavepoint, fail: reject }) === 1) setImmediate(commit)
      }),

    flush() {
      while (pending.length > 0) commit()
    },
  }
}
