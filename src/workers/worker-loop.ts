/**
 * Claim, perform, wait: the loop of every worker; knows no SQL and no upstream.
 * Invariant: a claimed job is performed exactly once here. An exception is a bug, logged once, and the job
 * becomes due again when its lease ends.
 */
import { setTimeout as delay } from 'node:timers/promises'
import type { Log } from '../observability/log.ts'
import { createWakeSignal, type WakeSignal } from '../runtime/wake-signal.ts'

export interface WorkerLoopOptions<Job> {
  name: string
  /** Leases up to `limit` jobs that no other claim holds. */
  claim(limit: number): Promise<readonly Job[]>
  perform(job: Job, signal: AbortSignal): Promise<void>
  /** Log fields of a job; omitted for jobs without an app. */
  logFields?: (job: Job) => object
  /** Notified when there may be something to claim. Without it only the interval counts. */
  wakeSignal?: WakeSignal
  /** Max concurrent jobs. */
  capacity: number
  /**
   * Claims again when this many slots are free, or at the interval: a claim may cost more than a job. If
   * above 1, a claim that did not fill the free slots is not followed by another before a notification or the
   * interval. Default 1.
   */
  minFreeSlots?: number
  /** After a claim of `claimed` jobs the next comes no sooner, ms. Default 0. */
  minClaimIntervalMs?(claimed: number): number
  /** Max ms between claims. */
  intervalMs: number
  log: Log
}

export interface WorkerLoop {
  start(): void
  /** Claims nothing more and waits for running jobs. When `deadline` aborts, their signals abort. */
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
  /** Woken when a job ends; only this loop needs it. */
  const waiter = wakeSignal.createWaiter()
  /** The last claim left slots free: an ended job is no reason to claim. */
  let lastClaimWasShort = false
  /** Claims fail: logged once until one succeeds. */
  let isFailing = false

  /** The number of claimed jobs; null if no slot was free. */
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
          if (!lastClaimWasShort && capacity - running.size >= minFreeSlots) waiter.wake()
        })
      running.add(done)
    }
    return jobs.length
  }

  async function run(): Promise<void> {
    while (!stopping.signal.aborted) {
      let waitMs = 0
      try {
        const claimed = await claimOnce()
        if (claimed !== null) waitMs = minClaimIntervalMs(claimed)
        if (isFailing) log.info({ worker: name }, 'claims succeed again')
        isFailing = false
      } catch (error) {
        if (!isFailing) log.error({ err: error, worker: name }, 'a claim failed')
        isFailing = true
      }
      // A notification during the wait is not lost: the waiter keeps it.
      if (waitMs > 0) await delay(waitMs, undefined, { signal: stopping.signal }).catch(() => {})
      await waiter.wait(intervalMs, stopping.signal)
    }
    waiter.cancel()
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
