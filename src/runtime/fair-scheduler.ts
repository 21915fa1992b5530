/**
 * The event loop, shared: work on many items asks for a turn before each. Owners take turns; within one it goes by the
 * order of asking.
 * Invariant: turns given in one pass of the loop take a slice of time together and no more, so that a request that comes
 * meanwhile waits a slice and not the whole work; and an owner waits for one turn of each other, however much they have.
 */
import { performance } from 'node:perf_hooks'

export interface FairScheduler {
  nextSlice(owner: string): Promise<void>
}

const SLICE_MS = 5

export function createFairScheduler(): FairScheduler {
  /** The first of the first owner is next. Sets, since an array's `shift` takes as long as the array is. */
  const waiting = new Map<string, Set<() => void>>()
  let isRunning = false

  function dequeue(): (() => void) | null {
    for (const [owner, resolvers] of waiting) {
      waiting.delete(owner)
      for (const resume of resolvers) {
        resolvers.delete(resume)
        if (resolvers.size > 0) waiting.set(owner, resolvers)
        return resume
      }
    }
    return null
  }

  function runSlice(deadline: number): void {
    const resume = dequeue()
    if (resume === null) {
      isRunning = false
      return
    }
    resume()
    // Behind the microtask in which whoever got the turn uses it.
    queueMicrotask(() =>
      queueMicrotask(() => {
        if (performance.now() < deadline) runSlice(deadline)
        else setImmediate(startSlice)
      }),
    )
  }

  const startSlice = () => runSlice(performance.now() + SLICE_MS)

  return {
    nextSlice: owner =>
      new Promise(resolve => {
        const resolvers = waiting.get(owner) ?? new Set()
        waiting.set(owner, resolvers.add(resolve))
        if (isRunning) return
        isRunning = true
        setImmediate(startSlice)
      }),
  }
}
