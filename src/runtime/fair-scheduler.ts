/**
 * The event loop, shared: work on many items asks for a turn before each. Owners take turns; within one it goes by the
 * order of asking.
 * Invariant: turns given in one pass of the loop take a slice of time together and no more, so that a request that comes
 * meanwhile waits a slice and not the whole work; and an owner waits for one turn of each other, however much they have.
 */
import { performance } from 'node:perf_hooks'

export interface Turns {
  next(owner: string): Promise<void>
}

const SLICE_MS = 5

export function createTurns(): Turns {
  /** The first of the first owner is next. Sets, since an array's `shift` takes as long as the array is. */
  const waiting = new Map<string, Set<() => void>>()
  let giving = false

  function take(): (() => void) | null {
    for (const [owner, those] of waiting) {
      waiting.delete(owner)
      for (const go of those) {
        those.delete(go)
        if (those.size > 0) waiting.set(owner, those)
        return go
      }
    }
    return null
  }

  function give(until: number): void {
    const go = take()
    if (go === null) {
      giving = false
      return
    }
    go()
    // Behind the microtask in which whoever got the turn uses it.
    queueMicrotask(() =>
      queueMicrotask(() => {
        if (performance.now() < until) give(until)
        else setImmediate(begin)
      }),
    )
  }

  const begin = () => give(performance.now() + SLICE_MS)

  return {
    next: owner =>
      new Promise(resolve => {
        const those = waiting.get(owner) ?? new Set()
        waiting.set(owner, those.add(resolve))
        if (giving) return
        giving = true
        setImmediate(begin)
      }),
  }
}
