/**
 * "Look now": a hint, never the truth. Lose a ring and the next look finds the row.
 * Invariant: a ring between `arm` and `rung` is not lost. So: arm, read, then wait; the other order loses what
 * lands in between.
 */
export interface WakeSignal {
  /** Wakes everyone who is armed. */
  notify(): void
  waiter(): Waiter
}

export interface Waiter {
  /** Resolves at the next ring, at once if it has rung since `arm`, or after `ms`, or when `signal` aborts. One use. */
  wait(ms: number, signal?: AbortSignal): Promise<void>
  /** As if it had rung, for this one alone. */
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

    waiter() {
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
