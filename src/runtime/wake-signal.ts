/**
 * A wake signal wakes readers when the database may have new rows. It carries no data: a reader that wakes reads the
 * database. A lost signal costs latency only, because the next read finds the row.
 * Invariant: a `notify` between `createWaiter()` and `wait()` is not lost. Order: create the waiter, read, wait.
 */
export interface WakeSignal {
  /** Wakes every waiter. */
  notify(): void
  createWaiter(): Waiter
}

export interface Waiter {
  /**
   * Resolves at the next `notify`, after `ms`, or when `signal` aborts. If `notify` was called since `createWaiter()`, it
   * resolves at once. May be called once.
   */
  wait(ms: number, signal?: AbortSignal): Promise<void>
  /** Wakes this waiter alone. */
  wake(): void
  cancel(): void
}

export function createWakeSignal(): WakeSignal {
  const waiters = new Set<() => void>()

  return {
    notify() {
      const current = [...waiters]
      waiters.clear()
      for (const wake of current) wake()
    },

    createWaiter() {
      let isNotified = false
      let wake = () => {}
      const onNotify = () => {
        isNotified = true
        wake()
      }
      waiters.add(onNotify)
      return {
        wait: (ms, signal) =>
          new Promise<void>(resolve => {
            const done = () => {
              clearTimeout(timer)
              signal?.removeEventListener('abort', done)
              waiters.delete(onNotify)
              resolve()
            }
            const timer = setTimeout(done, ms)
            signal?.addEventListener('abort', done)
            wake = done
            if (isNotified || signal?.aborted) done()
          }),
        wake: onNotify,
        cancel: () => void waiters.delete(onNotify),
      }
    },
  }
}
