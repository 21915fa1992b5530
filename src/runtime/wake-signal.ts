/**
 * "Look now": a hint, never the truth. Lose a ring and the next look finds the row.
 * Invariant: a ring between `arm` and `rung` is not lost. So: arm, read, then wait; the other order loses what
 * lands in between.
 */
export interface Bell {
  /** Wakes everyone who is armed. */
  ring(): void
  arm(): Armed
}

export interface Armed {
  /** Resolves at the next ring, at once if it has rung since `arm`, or after `ms`, or when `signal` aborts. One use. */
  rung(ms: number, signal?: AbortSignal): Promise<void>
  /** As if it had rung, for this one alone. */
  wake(): void
  disarm(): void
}

export function createBell(): Bell {
  const armed = new Set<() => void>()

  return {
    ring() {
      const waiting = [...armed]
      armed.clear()
      for (const wake of waiting) wake()
    },

    arm() {
      let rang = false
      let wake = () => {}
      const hear = () => {
        rang = true
        wake()
      }
      armed.add(hear)
      return {
        rung: (ms, signal) =>
          new Promise<void>(resolve => {
            const done = () => {
              clearTimeout(timer)
              signal?.removeEventListener('abort', done)
              armed.delete(hear)
              resolve()
            }
            const timer = setTimeout(done, ms)
            signal?.addEventListener('abort', done)
            wake = done
            if (rang || signal?.aborted) done()
          }),
        wake: hear,
        disarm: () => void armed.delete(hear),
      }
    },
  }
}
