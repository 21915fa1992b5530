/**
 * A wake signal wakes readers when the database may have new rows. It carries no data: a reader that wakes reads the
 * database. A lost signal costs latency only, because the next read finds the row.
 * Invariant: a `notify` after `createWaiter()`, or after the end of the waiter's last wait, is not lost. Order: create the
 * waiter; then read, wait, read, wait.
 */
export interface WakeSignal {
  /** Wakes every waiter. */
  notify(): void
  createWaiter(): Waiter
}

export interface Waiter {
  /**
   * Resolves at the next `notify`, after `ms`, or when `signal` aborts. If `notify` was called since `createWaiter()` or
   * since the last wait ended, it resolves at once. One wait at a time.
   */
  wait(ms: number, signal?: AbortSignal): Promise<void>
  /** Wakes this waiter alone. */
  wake(): void
  /** After it `notify` wakes this waiter no more. */
  cancel(): void
}

export function createWakeSignal(): WakeSignal {
  const waiters = new Set<() => void>()

  return {
    notify() {
      for (const wake of waiters) wake()
    },

    createWaiter() {
      let isNotified = false
      let endWait = () => {}
      const wake = () => {
        isNotified = true
        endWait()
      }
      waiters.add(wake)
      return {
        wait: (ms, signal) =>
          new Promise<void>(resolve => {
            const done = () => {
              clearTimeout(timer)
              signal?.removeEventListener('abort', done)
              isNotified = false
              endWait = () => {}
              resolve()
            }
            const timer = setTimeout(done, ms)
            signal?.addEventListener('abort', done)
            endWait = done
            if (isNotified || signal?.aborted) done()
          }),
        wake,
        cancel: () => void waiters.delete(wake),
      }
    },
  }
}
