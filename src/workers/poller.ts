/**
 * Polls accepted jobs until their end is known.
 * Invariant: a failed poll says nothing about the job; only upstream's own status ends it, or its deadline. No deadline
 * ends a job before this process has looked for it.
 * Routine polls are written together, one commit for many, so that 10,000 jobs in flight do not cost 10,000
 * commits.
 */
import { setTimeout as delay } from 'node:timers/promises'
import DataLoader from 'dataloader'
import { isFinal, type Job, type Observation } from '../domain/prediction.ts'
import { MINUTE_MS } from '../domain/time.ts'
import { type PollOptions, pollFailed, pollSucceeded, routinePollUpdate } from '../domain/transitions.ts'
import type { Log } from '../observability/log.ts'
import type { ContinuousRun } from '../runtime/continuous-run.ts'
import type { WakeSignal } from '../runtime/wake-signal.ts'
import type { RescheduledPoll, Store } from '../store/store.ts'
import type { Upstream } from '../upstream/client.ts'
import type { PollCircuit } from './poll-circuit.ts'
import type { PollTiming } from './poll-timing.ts'
import { createWorkerLoop, type WorkerLoop } from './worker-loop.ts'

export interface PollerOptions {
  store: Store
  upstream: Upstream
  pollTiming: PollTiming
  pollCircuit: PollCircuit
  /** Notified when a job should be polled now. */
  pollSignal: WakeSignal
  continuousRun: Pick<ContinuousRun, 'hasLasted'>
  log: Log
  now: () => number
  deadlineMs: number
  /** A job reported completed without outputs has this long for them to appear. */
  outputGraceMs: number
  readTimeoutMs: number
}

/** Max concurrent polls. */
const CAPACITY = 128
/** Max lateness of a poll. */
const INTERVAL_MS = 200
/** Routine polls within this window share one commit. */
const BATCH_WINDOW_MS = 20
/**
 * Statuses that concern this job only. Every other failure (a page, a redirect, a rejected key) concerns all
 * jobs.
 */
const JOB_SPECIFIC_STATUSES: ReadonlySet<number> = new Set([400, 404, 410, 422])
/** Max delay that a job's own Retry-After adds. */
const MAX_RETRY_AFTER_MS = 5 * MINUTE_MS

export function createPoller(options: PollerOptions): WorkerLoop {
  const {
    store,
    upstream,
    pollTiming,
    pollCircuit,
    pollSignal,
    continuousRun,
    log,
    now,
    deadlineMs,
    outputGraceMs,
    readTimeoutMs,
  } = options

  const rescheduleLoader = new DataLoader<RescheduledPoll, null>(
    async polls => {
      await store.reschedule(polls)
      return polls.map(() => null)
    },
    { cache: false, batchScheduleFn: flush => void delay(BATCH_WINDOW_MS).then(flush) },
  )

  async function perform(job: Job, signal: AbortSignal): Promise<void> {
    if (job.upstreamId === null) throw new Error(`${job.id} is accepted and has no upstream id`)
    const response = await upstream.getResult(job.upstreamId, signal)
    // Aborted at a stop: the job becomes due again when its lease ends.
    if (response.observation === null && signal.aborted) return
    const at = now()
    const pollOptions: PollOptions = {
      now: at,
      nextPollAt: await pollTiming.nextPollAt(job, at),
      deadlineMs,
      outputGraceMs,
    }
    if (response.observation !== null) {
      pollCircuit.recordSuccess()
      return writePoll(job, response.observation, pollOptions)
    }
    const { status, retryAfterMs } = response
    recordPollFailure(status, retryAfterMs)
    log.warn({ prediction: job.id, app: job.appId, status }, 'a poll failed; will retry')
    const retryAt = at + Math.min(retryAfterMs ?? 0, MAX_RETRY_AFTER_MS)
    const nextPollAt = Math.max(pollOptions.nextPollAt, retryAt)
    const isAnswered = status === 404
    // Without an answer a job expires only if it was looked for all the time: after a start or a pause, look first.
    if (!isAnswered && !continuousRun.hasLasted(deadlineMs)) {
      const { id, fence, lastSeenRunningAt } = job
      return void (await rescheduleLoader.load({ id, fence, dueAt: nextPollAt, lastSeenRunningAt }))
    }
    return writePoll(job, null, { ...pollOptions, nextPollAt }, isAnswered)
  }

  /** Records whether upstream is down, or only this job cannot be read. */
  function recordPollFailure(status: number | null, retryAfterMs: number | null): void {
    if (status !== null && JOB_SPECIFIC_STATUSES.has(status)) {
      pollCircuit.recordSuccess()
      return
    }
    const wasOpen = pollCircuit.isOpen
    pollCircuit.recordFailure(retryAfterMs)
    if (pollCircuit.isOpen && !wasOpen)
      log.warn({ status }, 'upstream cannot be read; polling one job at a time')
  }

  async function writePoll(
    job: Job,
    observation: Observation | null,
    pollOptions: PollOptions,
    isAnswered = true,
  ): Promise<void> {
    const rescheduled = routinePollUpdate(job, observation, pollOptions, isAnswered)
    if (rescheduled !== null) {
      await rescheduleLoader.load({ id: job.id, fence: job.fence, ...rescheduled })
      return
    }
    const transition =
      observation === null ? pollFailed(pollOptions, isAnswered) : pollSucceeded(observation, pollOptions)
    const changed = await store.change(job.id, transition, pollOptions.now, job.fence)
    if (changed === null || (changed.status === job.status && changed.error === job.error)) return
    const { status, error } = changed
    const logFields = { prediction: job.id, app: job.appId, status, error: error ?? undefined }
    const message = isFinal(job.status) ? 'corrected' : isFinal(status) ? 'finished' : 'status changed'
    log.info(logFields, message)
    if (observation?.status === 'completed') warnOfMissingOutputs(logFields, error, observation)
  }

  /** The job is paid. An operator can still find its outputs at upstream, for seven days. */
  function warnOfMissingOutputs(
    logFields: object,
    error: Job['error'],
    { outputs, unreadableOutputs = 0 }: Extract<Observation, { status: 'completed' }>,
  ): void {
    const counts = { ...logFields, outputs: outputs.length, unreadable: unreadableOutputs }
    if (unreadableOutputs > 0)
      log.warn(counts, 'upstream calls the job completed, and not all of its outputs are web addresses')
    else if (error === 'NO_OUTPUT')
      log.warn(counts, 'upstream calls the job completed, and it has no outputs; it may have been charged')
  }

  return createWorkerLoop({
    name: 'poller',
    logFields: ({ id, appId }: Job) => ({ prediction: id, app: appId }),
    async claim(limit) {
      const pollLimit = pollCircuit.limitPolls(limit)
      if (pollLimit === 0) return []
      const at = now()
      const leaseUntil = at + readTimeoutMs + 15_000
      const jobs = await store.claimPolls({ now: at, leaseUntil, limit: pollLimit })
      if (jobs.length > 0) pollCircuit.recordStart()
      return jobs
    },
    perform,
    wakeSignal: pollSignal,
    capacity: CAPACITY,
    minFreeSlots: CAPACITY / 4,
    intervalMs: INTERVAL_MS,
    log,
  })
}
