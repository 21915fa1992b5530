/**
 * Shares the event loop: work on many items awaits `nextSlice` before each item. Owners take turns; within an owner
 * the first item is first. The requests of an app are one owner, and the messages to its subscribers another.
 * Invariant: all items of one iteration of the event loop share one slice of about 5 ms, so a new connection waits for
 * one slice and not for the whole work. An owner waits for one item of each other owner, however many those have.
 * The tail of the event log takes slices of its own: its order is that of the log, not of owners.
 */
import { performance } from 'node:perf_hooks'

export interface FairScheduler {
  nextSlice(owner: string): Promise<void>
}

const SLICE_MS = 5

export function createFairScheduler(): FairScheduler {
  /** The first resolver of the first owner is next. Sets, because `shift` of a long array is slow. */
  const waiting = new Map<string, Set<() => void>>()
  let isRunning = false

  async function run(): Promise<void> {
    while (waiting.size > 0) {
      await new Promise(setImmediate)
      const sliceEnd = performance.now() + SLICE_MS
      // An owner that is added during the loop is visited, too: owners go to the end after each turn.
      for (const [owner, resolvers] of waiting) {
        const [resume] = resolvers
        resolvers.delete(resume!)
        waiting.delete(owner)
        if (resolvers.size > 0) waiting.set(owner, resolvers)
        resume!()
        // The awaiting caller resumes before the second microtask, so its work counts towards this slice.
        await null
        await null
        if (performance.now() >= sliceEnd) break
      }
    }
    isRunning = false
  }

  return {
    nextSlice: owner =>
      new Promise(resolve => {
        const resolvers = waiting.get(owner) ?? new Set()
        waiting.set(owner, resolvers.add(resolve))
        if (isRunning) return
        isRunning = true
        void run()
      }),
  }
}
