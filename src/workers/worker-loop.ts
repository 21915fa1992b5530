/**
 * Claim → perform → wait, for any worker; knows no SQL and no upstream.
 * Invariant: a claimed job is performed exactly once here, whatever another one does; a throw is a bug, logged once,
 * and the job's lease brings it back.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { createWakeSignal, type Waiter, type WakeSignal } from '../runtime/wake-signal.ts'

export interface WorkerLoopOptions<Job> {
  name: string
  /** At most this many jobs that nobody else holds. */
  claim(limit: number): Promise<readonly Job[]>
  perform(job: Job, signal: AbortSignal): Promise<void>
  /** What a log line says of it; nothing, where it has no app. */
  logFields?: (job: Job) => object
  /** Rung when there may be something to claim; without one the interval decides alone. */
  wakeSignal?: WakeSignal
  /** Jobs at once. */
  capacity: number
  /**
   * It claims anew when so many places are free, or at the interval: a claim may cost more than a job. With more than one,
   * a claim that did not fill the room leaves nothing worth another before a ring or the interval. Default 1.
   */
  minFreeSlots?: number
  /** After a claim that brought so many the next comes no sooner, ms: one may cost more than a job. Default 0. */
  minClaimIntervalMs?(claimed: number): number
  /** It looks at least this often, ms. */
  intervalMs: number
  log: Log
}

export interface Log {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

export interface WorkerLoop {
  start(): void
  /** Claims nothing more and waits for what runs; once `deadline` aborts, their signals do. */
  stop(deadline: AbortSignal): Promise<void>
}

export function createWorkerLoop<Job>(options: WorkerLoopOptions<Job>): WorkerLoop {
  const {
    name,
    claim,
    perform,
    logFields,
    wakeSignal = createWakeSignal(),
    capacity,
    minFreeSlots = 1,
    minClaimIntervalMs = () => 0,
  } = options
  const { intervalMs, log } = options
  const stopping = new AbortController()
  const jobAbort = new AbortController()
  const running = new Set<Promise<void>>()
  let finished: Promise<void> = Promise.resolve()
  /** A job that ends makes room; only this loop needs to know. */
  let waiter: Waiter | null = null
  /** The last claim left room, and is over: an end makes no difference. */
  let lastClaimWasShort = false

  /** Answers with how many were claimed; null: there was no room. */
  async function claimOnce(): Promise<number | null> {
    const freeSlots = capacity - running.size
    if (freeSlots <= 0) return null
    lastClaimWasShort = false
    const jobs = await claim(freeSlots)
    lastClaimWasShort = minFreeSlots > 1 && jobs.length < freeSlots
    for (const job of jobs) {
      const done = Promise.resolve()
        .then(() => perform(job, jobAbort.signal))
        .catch(error =>
          log.error({ err: error, worker: name, ...logFields?.(job) }, 'unexpected error in a worker job'),
        )
        .finally(() => {
          running.delete(done)
          if (!lastClaimWasShort && capacity - running.size >= minFreeSlots) waiter?.wake()
        })
      running.add(done)
    }
    return jobs.length
  }

  async function run(): Promise<void> {
    while (!stopping.signal.aborted) {
      waiter = wakeSignal.waiter()
      let waitMs = 0
      try {
        const claimed = await claimOnce()
        if (claimed !== null) waitMs = minClaimIntervalMs(claimed)
      } catch (error) {
        log.error({ err: error, worker: name }, 'a claim failed')
      }
      // What rings meanwhile is heard behind it.
      if (waitMs > 0) await delay(waitMs, undefined, { signal: stopping.signal }).catch(() => {})
      await waiter.wait(intervalMs, stopping.signal)
    }
  }

  return {
    start() {
      finished = run()
    },
    async stop(deadline) {
      stopping.abort()
      const abortJobs = () => jobAbort.abort()
      if (deadline.aborted) abortJobs()
      else deadline.addEventListener('abort', abortJobs, { once: true })
      await finished
      await Promise.all(running)
      deadline.removeEventListener('abort', abortJobs)
    },
  }
}
