/**
 * Claim → perform → wait, for any worker; knows no SQL and no upstream.
 * Invariant: a claimed job is performed exactly once here, whatever another one does; a throw is a bug, logged once,
 * and the job's lease brings it back.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { type Armed, type Bell, createBell } from '../runtime/wake-signal.ts'

export interface LoopOptions<Job> {
  name: string
  /** At most this many jobs that nobody else holds. */
  claim(limit: number): Promise<readonly Job[]>
  perform(job: Job, signal: AbortSignal): Promise<void>
  /** What a log line says of it; nothing, where it has no app. */
  about?: (job: Job) => object
  /** Rung when there may be something to claim; without one the interval decides alone. */
  bell?: Bell
  /** Jobs at once. */
  capacity: number
  /**
   * It claims anew when so many places are free, or at the interval: a claim may cost more than a job. With more than one,
   * a claim that did not fill the room leaves nothing worth another before a ring or the interval. Default 1.
   */
  batch?: number
  /** After a claim that brought so many the next comes no sooner, ms: one may cost more than a job. Default 0. */
  rest?(claimed: number): number
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

export interface Loop {
  start(): void
  /** Claims nothing more and waits for what runs; once `deadline` aborts, their signals do. */
  stop(deadline: AbortSignal): Promise<void>
}

export function createLoop<Job>(options: LoopOptions<Job>): Loop {
  const { name, claim, perform, about, bell = createBell(), capacity, batch = 1, rest = () => 0 } = options
  const { intervalMs, log } = options
  const stopping = new AbortController()
  const cutting = new AbortController()
  const running = new Set<Promise<void>>()
  let ended: Promise<void> = Promise.resolve()
  /** A job that ends makes room; only this loop needs to know. */
  let armed: Armed | null = null
  /** The last claim left room, and is over: an end makes no difference. */
  let isDry = false

  /** Answers with how many were claimed; null: there was no room. */
  async function turn(): Promise<number | null> {
    const room = capacity - running.size
    if (room <= 0) return null
    isDry = false
    const jobs = await claim(room)
    isDry = batch > 1 && jobs.length < room
    for (const job of jobs) {
      const done = Promise.resolve()
        .then(() => perform(job, cutting.signal))
        .catch(error =>
          log.error({ err: error, worker: name, ...about?.(job) }, 'unexpected error in a worker job'),
        )
        .finally(() => {
          running.delete(done)
          if (!isDry && capacity - running.size >= batch) armed?.wake()
        })
      running.add(done)
    }
    return jobs.length
  }

  async function run(): Promise<void> {
    while (!stopping.signal.aborted) {
      armed = bell.arm()
      let restMs = 0
      try {
        const claimed = await turn()
        if (claimed !== null) restMs = rest(claimed)
      } catch (error) {
        log.error({ err: error, worker: name }, 'a claim failed')
      }
      // What rings meanwhile is heard behind it.
      if (restMs > 0) await pause(restMs, undefined, { signal: stopping.signal }).catch(() => {})
      await armed.rung(intervalMs, stopping.signal)
    }
  }

  return {
    start() {
      ended = run()
    },
    async stop(deadline) {
      stopping.abort()
      const cut = () => cutting.abort()
      if (deadline.aborted) cut()
      else deadline.addEventListener('abort', cut, { once: true })
      await ended
      await Promise.all(running)
      deadline.removeEventListener('abort', cut)
    },
  }
}
