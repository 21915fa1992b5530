/**
 * The event loop, shared: work on many items asks for a turn before each, and gets it in the order of asking.
 * Invariant: turns given in one pass of the loop take a slice of time together and no more, so that a request that comes
 * meanwhile waits a slice and not the whole work.
 */
import { performance } from 'node:perf_hooks'

export interface Turns {
  next(): Promise<void>
}

const SLICE_MS = 5

export function createTurns(): Turns {
  const waiting: (() => void)[] = []
  let giving = false

  function give(until: number): void {
    const go = waiting.shift()
    if (go === undefined) {
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
    next: () =>
      new Promise(resolve => {
        waiting.push(resolve)
        if (giving) return
        giving = true
        setImmediate(begin)
      }),
  }
}
