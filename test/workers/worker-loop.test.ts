import { setImmediate as immediate } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { createWakeSignal } from '../../src/runtime/wake-signal.ts'
import { createWorkerLoop, type WorkerLoopOptions } from '../../src/workers/worker-loop.ts'
import { until } from '../support/until.ts'

/** Longer than any test: the interval never causes a claim. */
const NEVER_MS = 60 * 60 * 1000
const ABORTED = AbortSignal.abort()
const NEVER_ABORTED = new AbortController().signal

type Job = number

/** A loop over a queue of numbered jobs; each runs until `end(job)`. `await using` ends it. */
function startLoop(queue: Job[], over: Partial<WorkerLoopOptions<Job>> = {}) {
  const wakeSignal = createWakeSignal()
  const errors: { error: unknown; message: string }[] = []
  const claimLimits: number[] = []
  const performed: Job[] = []
  const gates = new Map<Job, PromiseWithResolvers<void>>()
  const signals = new Map<Job, AbortSignal>()
  let maxRunning = 0
  const ignore = () => {}
  const loop = createWorkerLoop<Job>({
    name: 'test',
    claim: async limit => {
      claimLimits.push(limit)
      return queue.splice(0, limit)
    },
    async perform(job, signal) {
      performed.push(job)
      signals.set(job, signal)
      const gate = Promise.withResolvers<void>()
      gates.set(job, gate)
      maxRunning = Math.max(maxRunning, gates.size)
      try {
        await gate.promise
      } finally {
        gates.delete(job)
      }
    },
    wakeSignal,
    capacity: 3,
    intervalMs: NEVER_MS,
    log: {
      debug: ignore,
      info: ignore,
      warn: ignore,
      error: (fields, message) => errors.push({ error: (fields as { err: unknown }).err, message }),
    },
    ...over,
  })
  loop.start()
  return {
    loop,
    wakeSignal: wakeSignal,
    queue,
    errors,
    claimLimits: claimLimits,
    performed,
    signals,
    /** Jobs that run now, and the most that ever ran at once. */
    get running() {
      return [...gates.keys()]
    },
    get maxRunning() {
      return maxRunning
    },
    end: (job: Job) => gates.get(job)?.resolve(),
    fail: (job: Job, error: Error) => gates.get(job)?.reject(error),
    async [Symbol.asyncDispose]() {
      const stopped = loop.stop(ABORTED)
      for (let over = false; !over; over = await Promise.race([stopped.then(() => true), immediate(false)]))
        for (const gate of gates.values()) gate.resolve()
    },
  }
}

/** Whether the promise is settled once everything that needs no timer has happened. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false
  void promise.finally(() => {
    settled = true
  })
  for (let i = 0; i < 10; i++) await immediate()
  return settled
}

describe('jobs', () => {
  test('are claimed at the start and performed once each', async () => {
    await using f = startLoop([1, 2])
    await until(() => f.running.length === 2)
    for (const job of [1, 2]) f.end(job)
    await until(() => f.running.length === 0)
    await isSettled(Promise.resolve())
    expect(f.performed).toEqual([1, 2])
    expect(f.claimLimits[0]).toBe(3)
  })

  test('are claimed at once after a notification', async () => {
    await using f = startLoop([])
    await until(() => f.claimLimits.length === 1)
    f.queue.push(1)
    f.wakeSignal.notify()
    await until(() => f.running.length === 1)
  })

  test('are not missed when they arrive during a claim', async () => {
    const claims: PromiseWithResolvers<Job[]>[] = []
    const claim = () => {
      const answer = Promise.withResolvers<Job[]>()
      claims.push(answer)
      return answer.promise
    }
    await using f = startLoop([], { claim })
    // The claim has read an empty table; then the row is written and the signal notified; then the claim
    // returns.
    await until(() => claims.length === 1)
    f.wakeSignal.notify()
    claims[0]?.resolve([])
    await until(() => claims.length === 2)
    claims[1]?.resolve([7])
    await until(() => f.running.includes(7))
  })

  test('are claimed once after the minimum interval, however often it was notified, if a claim brought nothing', async () => {
    await using f = startLoop([], { minClaimIntervalMs: claimed => (claimed === 0 ? 20 : 0) })
    await until(() => f.claimLimits.length === 1)
    for (let notifications = 0; notifications < 2000; notifications++) {
      f.wakeSignal.notify()
      await immediate()
    }
    expect(f.claimLimits.length).toBeLessThan(500)
    f.queue.push(1)
    f.wakeSignal.notify()
    await until(() => f.running.length === 1)
  })

  test('are claimed at the interval without a signal', async () => {
    const claimLimits: number[] = []
    const claim = async (limit: number) => {
      claimLimits.push(limit)
      return []
    }
    await using f = startLoop([], { claim, intervalMs: 2 })
    await until(() => claimLimits.length >= 4)
    expect(f.errors).toEqual([])
  })
})

describe('capacity', () => {
  test('is never exceeded, and every job that ends frees its slot for the next at once', async () => {
    const jobs = Array.from({ length: 20 }, (_, i) => i)
    await using f = startLoop([...jobs])
    while (f.performed.length < 20 || f.running.length > 0) {
      await until(() => f.running.length > 0)
      f.end(f.running[0]!)
      f.wakeSignal.notify()
      await immediate()
    }
    expect(f.maxRunning).toBe(3)
    expect(f.performed).toEqual(jobs)
    expect(Math.min(...f.claimLimits)).toBeGreaterThan(0)
    expect(Math.max(...f.claimLimits)).toBe(3)
  })

  test('if used up lets nothing be claimed, however often it is notified', async () => {
    await using f = startLoop([1, 2, 3, 4])
    await until(() => f.running.length === 3)
    const { length } = f.claimLimits
    for (let i = 0; i < 5; i++) {
      f.wakeSignal.notify()
      await immediate()
    }
    expect(f.claimLimits).toHaveLength(length)
    expect(f.queue).toEqual([4])
    f.end(2)
    await until(() => f.running.includes(4))
    expect(f.claimLimits.at(length)).toBe(1)
  })

  test('is freed by a job that ends during a claim, too', async () => {
    const second = Promise.withResolvers<Job[]>()
    const answers = [Promise.resolve([1]), second.promise, Promise.resolve([3])]
    const limits: number[] = []
    const claim = (limit: number) => {
      limits.push(limit)
      return answers.shift() ?? Promise.resolve([])
    }
    await using f = startLoop([], { claim, capacity: 2 })
    await until(() => f.running.includes(1))
    f.wakeSignal.notify()
    await until(() => limits.length === 2)
    f.end(1)
    await until(() => f.running.length === 0)
    second.resolve([2])
    await until(() => f.running.includes(3))
    expect(limits.slice(0, 3)).toEqual([2, 1, 1])
  })
})

describe('a bug', () => {
  test('in one job is logged once; the others and the loop continue', async () => {
    await using f = startLoop([1, 2])
    await until(() => f.running.length === 2)
    const error = new Error('a bug')
    f.fail(1, error)
    await until(() => f.errors.length > 0)
    f.queue.push(3)
    f.wakeSignal.notify()
    await until(() => f.running.includes(3))
    expect(f.running).toEqual([2, 3])
    expect(f.errors).toEqual([{ error, message: 'unexpected error in a worker job' }])
    expect(f.performed).toEqual([1, 2, 3])
  })

  test('in a job frees its slot', async () => {
    await using f = startLoop([1, 2], { capacity: 1 })
    await until(() => f.running.includes(1))
    f.fail(1, new Error('a bug'))
    await until(() => f.running.includes(2))
  })

  test('in a claim is logged once, and the next claim works', async () => {
    const error = new Error('no answer')
    let claims = 0
    const claim = async () => {
      claims++
      if (claims === 1) throw error
      return claims === 2 ? [1] : []
    }
    await using f = startLoop([], { claim })
    await until(() => f.errors.length > 0)
    f.wakeSignal.notify()
    await until(() => f.running.includes(1))
    expect(f.errors).toEqual([{ error, message: 'a claim failed' }])
  })
})

describe('stop', () => {
  test('claims nothing more, and waits for running jobs', async () => {
    await using f = startLoop([1])
    await until(() => f.running.includes(1))
    const stopped = f.loop.stop(NEVER_ABORTED)
    const { length } = f.claimLimits
    f.queue.push(2)
    f.wakeSignal.notify()
    expect(await isSettled(stopped)).toBe(false)
    f.end(1)
    await stopped
    expect(await isSettled(stopped)).toBe(true)
    expect(f.claimLimits).toHaveLength(length)
    expect(f.performed).toEqual([1])
    expect(f.signals.get(1)?.aborted).toBe(false)
  })

  test('performs the jobs of a claim that was under way', async () => {
    const answer = Promise.withResolvers<Job[]>()
    await using f = startLoop([], { claim: () => answer.promise })
    const stopped = f.loop.stop(NEVER_ABORTED)
    expect(await isSettled(stopped)).toBe(false)
    answer.resolve([1])
    await until(() => f.running.includes(1))
    expect(await isSettled(stopped)).toBe(false)
    f.end(1)
    await stopped
  })

  test('aborts the signals of running jobs at the deadline, and not before', async () => {
    const deadline = new AbortController()
    await using f = startLoop([1, 2], {
      perform: (job, signal) => {
        f.signals.set(job, signal)
        return new Promise(resolve => signal.addEventListener('abort', () => resolve()))
      },
    })
    await until(() => f.signals.size === 2)
    const stopped = f.loop.stop(deadline.signal)
    expect(await isSettled(stopped)).toBe(false)
    for (const signal of f.signals.values()) expect(signal.aborted).toBe(false)
    deadline.abort()
    await stopped
    for (const signal of f.signals.values()) expect(signal.aborted).toBe(true)
    expect(f.errors).toEqual([])
  })

  test('after its deadline aborts at once, and still waits', async () => {
    await using f = startLoop([1])
    await until(() => f.running.includes(1))
    const stopped = f.loop.stop(ABORTED)
    expect(f.signals.get(1)?.aborted).toBe(true)
    expect(await isSettled(stopped)).toBe(false)
    f.end(1)
    await stopped
  })

  test('without running jobs ends at once, long before the interval', async () => {
    await using f = startLoop([])
    await until(() => f.claimLimits.length === 1)
    await f.loop.stop(NEVER_ABORTED)
    expect(f.performed).toEqual([])
  })

  test('of a loop that never started ends at once', async () => {
    const loop = createWorkerLoop<Job>({
      name: 'test',
      claim: async () => [],
      perform: async () => {},
      capacity: 1,
      intervalMs: NEVER_MS,
      log: { debug() {}, info() {}, warn() {}, error() {} },
    })
    await loop.stop(NEVER_ABORTED)
  })
})
