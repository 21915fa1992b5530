/**
 * Group commit: writes requested in one iteration of the event loop share one transaction, because its fsync is
 * most of the cost of a write.
 * Invariant: each write resolves after the commit of its rows, and sees the writes requested before it. A write that
 * throws is rolled back alone. If the commit fails, nothing is written and every write of the group is rejected, or, if
 * another process has the lock, tried again for `maxLockWaitMs`. No transaction is open across an
 * `await`.
 */
import { performance } from 'node:perf_hooks'
import { DatabaseUnavailable } from '../../domain/errors.ts'
import type { Db } from './connection.ts'
import { createWriteGate, type WriteGate } from './write-gate.ts'

export interface GroupCommit {
  /**
   * @param action may run twice, if another write of the group throws; its first writes are rolled back by then
   * @param shouldNotify whether to notify once the result is on disk
   * @param maxLockWaitMs as long as another process has the lock, and at most for this time, the write is tried again.
   *   Default 0
   */
  write<Result>(
    action: () => Result,
    shouldNotify: (result: Result) => boolean,
    maxLockWaitMs?: number,
  ): Promise<Result>
  /** Commits all pending writes before it returns. What fails now is rejected. */
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
  maxLockWaitMs: number
  requestedAt: number
}

export function createGroupCommit(
  { $client }: Db,
  notify: () => void,
  gate: WriteGate = createWriteGate(),
): GroupCommit {
  const pending: Write[] = []
  let retryTimer: NodeJS.Timeout | null = null
  let isFlushing = false
  const runTogether = $client.transaction((writes: readonly Write[], run: (write: Write) => () => boolean) =>
    writes.map(run),
  )
  /** A savepoint, because it runs inside the shared transaction. */
  const inSavepoint = $client.transaction((action: () => unknown) => action())

  function commit(): void {
    // A retry takes everything that waits, in order.
    if (retryTimer !== null) return
    const writes = pending.splice(0, MAX_WRITES_PER_COMMIT)
    if (writes.length === 0) return
    if (pending.length > 0) setImmediate(commit)
    let settlers: (() => boolean)[]
    try {
      if (gate.state.outage !== null) gate.assertOpen()
      settlers = runAll(writes)
    } catch (error) {
      const isOutage = gate.recordFailure(error)
      const wasTried = !(error instanceof DatabaseUnavailable)
      const retried = isOutage ? writes.filter(write => mayRetry(write, wasTried)) : []
      const reason = (isOutage && gate.state.outage?.error) || error
      for (const write of writes) if (!retried.includes(write)) write.fail(reason)
      pending.unshift(...retried)
      if (retried.length > 0) scheduleRetry()
      return
    }
    if (gate.state.outage !== null) gate.recordSuccess()
    if (settlers.map(settle => settle()).includes(true)) notify()
  }

  /** @param wasTried false if the gate was closed: another write has failed just now, and this one may succeed */
  function mayRetry({ maxLockWaitMs, requestedAt }: Write, wasTried: boolean): boolean {
    const { outage } = gate.state
    if (isFlushing || outage === null || outage.fault === 'replaced') return false
    if (wasTried && outage.fault !== 'locked') return false
    return performance.now() < (wasTried ? outage.since : requestedAt) + maxLockWaitMs
  }

  function scheduleRetry(): void {
    const waitMs = Math.max(1, (gate.state.outage?.retryAt ?? 0) - performance.now())
    retryTimer = setTimeout(() => {
      retryTimer = null
      commit()
    }, waitMs)
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
    write: <Result>(action: () => Result, shouldNotify: (result: Result) => boolean, maxLockWaitMs = 0) =>
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
        if (
          pending.push({
            run,
            runInSavepoint,
            fail: reject,
            maxLockWaitMs,
            requestedAt: performance.now(),
          }) === 1
        )
          setImmediate(commit)
      }),

    flush() {
      isFlushing = true
      if (retryTimer !== null) clearTimeout(retryTimer)
      retryTimer = null
      while (pending.length > 0) commit()
      isFlushing = false
    },
  }
}
