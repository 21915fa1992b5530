/**
 * Looks at what upstream has accepted, until all that can be known of it is known.
 * Invariant: a look that failed says nothing of the job. Only upstream's own word ends it, or its deadline.
 * Looks that bring nothing new are written down together: one commit for many, so that 10,000 jobs in flight don't cost
 * 10,000 of them.
 */
import { setTimeout as pause } from 'node:timers/promises'
import DataLoader from 'dataloader'
import { type Change, isFinal, type Job } from '../domain/prediction.ts'
import { type Look, missed, observed } from '../domain/transitions.ts'
import type { Bell } from '../runtime/wake-signal.ts'
import type { PutOff, Store } from '../store/store.ts'
import type { Upstream } from '../upstream/client.ts'
import type { Breaker } from './poll-circuit.ts'
import type { Looks } from './poll-timing.ts'
import { createLoop, type Log, type Loop } from './worker-loop.ts'

export interface PollerOptions {
  store: Store
  upstream: Upstream
  looks: Looks
  breaker: Breaker
  /** Rung for a job that should be looked at now. */
  bell: Bell
  log: Log
  now: () => number
  deadlineMs: number
  /** A job that is called completed has this long for its outputs to come. */
  graceMs: number
  readTimeoutMs: number
}

/** Looks at once. */
const CAPACITY = 128
/** How late a look may be. */
const INTERVAL_MS = 200
/** What comes within it is one commit. */
const GATHER_MS = 20
/** Refusals that are about this job alone. Whatever else is no answer (a page, a redirect, a key refused) meets them all. */
const OF_THE_JOB: ReadonlySet<number> = new Set([400, 404, 410, 422])
/** A job's own 429 puts its next look off by at most this. */
const LONGEST_RETRY_MS = 5 * 60_000

export function createPoller(options: PollerOptions): Loop {
  const { store, upstream, looks, breaker, bell, log, now, deadlineMs, graceMs, readTimeoutMs } = options

  const putOff = new DataLoader<PutOff, null>(
    async later => {
      await store.putOff(later)
      return later.map(() => null)
    },
    { cache: false, batchScheduleFn: flush => void pause(GATHER_MS).then(flush) },
  )

  async function perform(job: Job, signal: AbortSignal): Promise<void> {
    if (job.upstreamId === null) throw new Error(`${job.id} is accepted and has no upstream id`)
    const found = await upstream.look(job.upstreamId, signal)
    // Cut off at a stop: its lease brings it back.
    if (found.seen === null && signal.aborted) return
    const at = now()
    const look: Look = { now: at, next: await looks.next(job, at), deadlineMs, graceMs }
    if (found.seen !== null) {
      breaker.succeeded()
      return keep(job, look, observed(found.seen, look))
    }
    const { status, retryAfterMs } = found
    note(status, retryAfterMs)
    log.warn({ prediction: job.id, app: job.appId, status }, 'a look brought no answer; it is repeated')
    const later = at + Math.min(retryAfterMs ?? 0, LONGEST_RETRY_MS)
    return keep(job, look, missed({ ...look, next: Math.max(look.next, later) }, status === 404))
  }

  /** Whether upstream is down, or this job alone can't be read. */
  function note(status: number | null, retryAfterMs: number | null): void {
    if (status !== null && OF_THE_JOB.has(status)) {
      breaker.succeeded()
      return
    }
    const wasOpen = breaker.isOpen
    breaker.failed(retryAfterMs)
    if (breaker.isOpen && !wasOpen) log.warn({ status }, 'upstream can not be read; one look at a time')
  }

  async function keep(job: Job, look: Look, decide: ReturnType<typeof observed>): Promise<void> {
    const foreseen = decide(job)
    if (foreseen !== null && isRoutine(foreseen)) {
      const { dueAt = look.next, runningAt = job.runningAt } = foreseen
      await putOff.load({ id: job.id, fence: job.fence, dueAt, runningAt })
      return
    }
    const changed = await store.change(job.id, decide, look.now, job.fence)
    if (changed === null || (changed.status === job.status && changed.error === job.error)) return
    const { status, error } = changed
    const told = { prediction: job.id, app: job.appId, status, error: error ?? undefined }
    const what = isFinal(job.status) ? 'corrected' : isFinal(status) ? 'finished' : 'moved'
    log.info(told, what)
  }

  return createLoop({
    name: 'poller',
    about: ({ id, appId }: Job) => ({ prediction: id, app: appId }),
    async claim(limit) {
      const room = breaker.room(limit)
      if (room === 0) return []
      const at = now()
      const leaseUntil = at + readTimeoutMs + 15_000
      const jobs = await store.claimPolls({ now: at, leaseUntil, limit: room })
      if (jobs.length > 0) breaker.begun()
      return jobs
    },
    perform,
    bell,
    capacity: CAPACITY,
    batch: CAPACITY / 4,
    intervalMs: INTERVAL_MS,
    log,
  })
}

/** Nothing that anybody would be told. */
const isRoutine = (change: Change): boolean =>
  Object.keys(change).every(name => name === 'dueAt' || name === 'runningAt')
