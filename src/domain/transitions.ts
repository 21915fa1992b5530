/**
 * State transitions of a prediction. Each is a pure function from a row and an observation to a change, or to null if
 * the observation is old, a duplicate, or about another state.
 * Invariant: a row whose POST may have been sent never becomes sendable again, unless upstream certainly refused the
 * POST.
 */
import type { PredictionErrorCode } from './errors.ts'
import {
  isFinal,
  type Job,
  type Observation,
  type StateChange,
  type SubmitOutcome,
  type Transition,
} from './prediction.ts'
import type { CircuitTrip } from './submit-circuit.ts'
import { DAY_MS, MINUTE_MS, SECOND_MS } from './time.ts'

/** Upstream keeps jobs and their outputs for this time. */
export const UPSTREAM_RETENTION_MS = 7 * DAY_MS
/** Delay before the submit circuit is probed after an account error. */
const ACCOUNT_PROBE_DELAY_MS = MINUTE_MS
/** Delay after a 429 without Retry-After. Upstream counts submits per minute. */
const DEFAULT_RETRY_AFTER_MS = MINUTE_MS
const UNREACHABLE_PROBE_DELAY_MS = SECOND_MS
const MAX_REFUSED_RETRY_DELAY_MS = 15 * MINUTE_MS
/** Failed image checks in a row before the prediction fails. */
const MAX_IMAGE_CHECKS = 3

// ── Image checks ──

const isWaitingForSubmit = ({ status, submission }: Job): boolean =>
  status === 'QUEUED' && submission === 'none'

/** The prediction fails before anything was sent. */
const failUnsent = (error: PredictionErrorCode, now: number): StateChange => ({
  status: 'FAILED',
  error,
  finishedAt: now,
  cost: 0,
})

export const imageVerified =
  (now: number): Transition =>
  job =>
    isWaitingForSubmit(job) ? { imageVerifiedAt: now, imageCheckFailures: 0, dueAt: now } : null

/** The image was uploaded to this gateway and is now in upstream's storage. */
export const imageTransferred =
  (upstreamImageUrl: string, now: number): Transition =>
  job => {
    const change = imageVerified(now)(job)
    return change && { ...change, upstreamImageUrl }
  }

/** The file is not an image, or is too large. */
export const imageRejected =
  (now: number): Transition =>
  job =>
    isWaitingForSubmit(job) ? failUnsent('INVALID_INPUT', now) : null

export const imageCheckFailed =
  (now: number, retryAt: number): Transition =>
  job => {
    if (!isWaitingForSubmit(job)) return null
    const imageCheckFailures = job.imageCheckFailures + 1
    if (imageCheckFailures < MAX_IMAGE_CHECKS)
      return { imageVerifiedAt: null, imageCheckFailures, dueAt: retryAt }
    return { imageCheckFailures, ...failUnsent('IMAGE_UNREACHABLE', now) }
  }

/** Whether one more failed check fails the prediction. */
export const isLastImageCheck = (job: Job): boolean => job.imageCheckFailures + 1 >= MAX_IMAGE_CHECKS

/** The image could not be checked, for a reason that says nothing about the image. */
export const imageCheckPostponed =
  (retryAt: number): Transition =>
  job =>
    isWaitingForSubmit(job) ? { dueAt: retryAt } : null

// ── The POST ──

/**
 * Upstream has accepted the job under this id, by the POST's answer, a webhook with the row's token, or upstream's
 * list.
 */
export const submitAccepted =
  (upstreamId: string, nextPollAt: number): Transition =>
  job => {
    if (job.submission !== 'begun' && job.submission !== 'unknown') return null
    return {
      // A final status that the app has seen stays until the real one is known.
      ...(job.status === 'QUEUED' && { status: 'CREATED' }),
      submission: 'accepted',
      tracking: 'active',
      upstreamId,
      submittedAt: job.submitStartedAt,
      dueAt: nextPollAt,
      submitCircuit: null,
    }
  }

/**
 * Upstream has the job of a row that waits: it was submitted, and then the database was replaced by an earlier copy.
 * @param submittedAt when upstream created the job
 */
export const submitRecovered =
  (upstreamId: string, submittedAt: number, now: number): Transition =>
  job =>
    isWaitingForSubmit(job)
      ? {
          status: 'CREATED',
          submission: 'accepted',
          tracking: 'active',
          upstreamId,
          submitStartedAt: submittedAt,
          submittedAt,
          dueAt: now,
        }
      : submitAccepted(upstreamId, now)(job)

/** The POST's answer. `nextCheckAt` is the time of the first poll, or of the first search if the outcome is unknown. */
export const submitAnswered =
  (outcome: SubmitOutcome, now: number, nextCheckAt: number): Transition =>
  job => {
    if (job.submission !== 'begun') return null
    switch (outcome.kind) {
      case 'accepted':
        return submitAccepted(outcome.upstreamId, nextCheckAt)(job)
      case 'rejected':
        return {
          ...(job.status === 'QUEUED'
            ? { ...failUnsent('INVALID_INPUT', now), submittedAt: job.submitStartedAt }
            : { cost: 0 }),
          submission: 'none',
          submitCircuit: null,
        }
      case 'unsent':
        return {
          ...requeueRefused(job, now, { reason: 'unreachable', until: now + UNREACHABLE_PROBE_DELAY_MS }),
          submitStartedAt: null,
        }
      case 'account':
        return {
          ...requeueRefused(job, now, { reason: 'account', until: now + ACCOUNT_PROBE_DELAY_MS }),
          ...(job.status === 'QUEUED' && { dueAt: now + refusedRetryDelay(job.submitAttempts) }),
        }
      case 'model':
        return {
          submission: 'none',
          // A job that is refused repeatedly may be the only one affected, as with `account`.
          ...(job.status === 'QUEUED' ? { dueAt: now + refusedRetryDelay(job.submitAttempts) } : { cost: 0 }),
          submitCircuit: null,
        }
      case 'held':
        return {
          submission: 'none',
          submitStartedAt: null,
          ...(job.status === 'QUEUED' ? { dueAt: outcome.until } : { cost: 0 }),
        }
      case 'throttled':
        return requeueRefused(job, now, {
          reason: 'throttled',
          until: now + (outcome.retryAfterMs ?? DEFAULT_RETRY_AFTER_MS),
        })
      case 'unknown':
        return submitUnknown(now, nextCheckAt)
    }
  }

/** Puts the job back into the queue. If its app has canceled it meanwhile, it stays canceled and costs nothing. */
const requeueRefused = ({ status }: Job, now: number, submitCircuit: CircuitTrip): StateChange => ({
  submission: 'none',
  ...(status === 'QUEUED' ? { dueAt: now } : { cost: 0 }),
  submitCircuit,
})

/**
 * Delay before a job is submitted again that was refused for an account error. A job that is refused repeatedly may
 * be the only one affected; the delay keeps it from opening the circuit for all others each time.
 */
const refusedRetryDelay = (submitAttempts: number): number =>
  submitAttempts < 3 ? 0 : Math.min(2 ** (submitAttempts - 3) * MINUTE_MS, MAX_REFUSED_RETRY_DELAY_MS)

/**
 * The job may be running and charged. It keeps its slot, the reconciler searches for it, and the submit circuit stays
 * open until upstream can be read.
 */
const submitUnknown = (now: number, nextSearchAt: number): StateChange => ({
  submission: 'unknown',
  tracking: 'active',
  dueAt: nextSearchAt,
  submitCircuit: { reason: 'unknown', until: now },
})

/** Abandoned submit: the process that started the POST ended before it stored the answer. */
export const submitAbandoned =
  (now: number, nextSearchAt: number): Transition =>
  job =>
    job.submission === 'begun' ? submitUnknown(now, nextSearchAt) : null

export interface SearchOptions {
  now: number
  nextSearchAt: number
  /**
   * Time since the POST. After it the prediction fails with SUBMISSION_UNKNOWN, its slot is free, and the search goes
   * on.
   */
  submitUnknownAfterMs: number
}

/**
 * Upstream's list has no job that is certainly this one.
 * @param isAbsent the whole list was read and no entry can be this job, so it holds no slot
 */
export const notListedUpstream =
  ({ now, nextSearchAt, submitUnknownAfterMs }: SearchOptions, isAbsent: boolean): Transition =>
  job => {
    if (job.submission !== 'unknown' || job.tracking === null) return null
    const age = now - (job.submitStartedAt ?? now)
    const isOverdue = age >= submitUnknownAfterMs
    return {
      ...(isOverdue || isAbsent ? { tracking: 'expired' } : {}),
      ...(age < UPSTREAM_RETENTION_MS ? { dueAt: nextSearchAt } : { tracking: null }),
      ...(job.status === 'QUEUED' &&
        isOverdue && {
          status: 'FAILED',
          error: 'SUBMISSION_UNKNOWN',
          submittedAt: job.submitStartedAt,
          finishedAt: now,
        }),
    }
  }

/**
 * The list could not be read, and this process has not looked long enough to give up: after a pause, a time in the past
 * proves nothing.
 */
export const searchPostponed =
  (nextSearchAt: number): Transition =>
  job =>
    job.submission === 'unknown' && job.tracking !== null ? { dueAt: nextSearchAt } : null

// ── Polls and webhooks ──

export interface PollOptions {
  now: number
  nextPollAt: number
  /** Time since submission. After it the prediction fails with TIMED_OUT, its slot is free, and it is polled rarely. */
  deadlineMs: number
  /** Time for the outputs to appear once upstream reports the job as completed. */
  outputGraceMs: number
}

/** Result of a poll. The status never goes back: a late "created" after "processing" is ignored. */
export const pollSucceeded =
  (observation: Observation, options: PollOptions): Transition =>
  job => {
    if (!isTracked(job)) return null
    const finalChange = toFinalChange(observation, job, options)
    if (finalChange === 'unfinished')
      return { lastSeenRunningAt: options.now, ...pollProgress(observation, job, options) }
    if (finalChange === 'no outputs')
      return {
        completedWithoutOutputSince: job.completedWithoutOutputSince ?? options.now,
        dueAt: options.nextPollAt,
      }
    // A canceled prediction stays canceled. A provisional error is replaced only by a different result.
    const isReported =
      job.status !== 'CANCELED' && !(job.status === 'FAILED' && job.error === finalChange.error)
    return { ...(isReported && finalChange), tracking: null }
  }

/**
 * The poll failed, which says nothing about the job. If upstream gives no answer at all, the deadline is doubled, and the
 * caller has looked without a pause for at least the deadline.
 */
export const pollFailed =
  (options: PollOptions, isAnswered: boolean): Transition =>
  job =>
    isTracked(job) ? scheduleNextPoll(job, isAnswered ? options : withDoubledDeadline(options)) : null

/**
 * The write of a routine poll: `pollSucceeded` or `pollFailed` would change nothing else. Null for any other poll.
 * @param observation null if the poll failed
 * @param isAnswered as for `pollFailed`
 */
export function routinePollUpdate(
  job: Job,
  observation: Observation | null,
  options: PollOptions,
  isAnswered: boolean,
): Pick<Job, 'dueAt' | 'lastSeenRunningAt'> | null {
  const pollOptions = observation !== null || isAnswered ? options : withDoubledDeadline(options)
  if (!isTracked(job) || !isWithinTrackingPeriod(job, pollOptions)) return null
  const { nextPollAt: dueAt, now } = pollOptions
  if (observation === null) return { dueAt, lastSeenRunningAt: job.lastSeenRunningAt }
  const isUnchanged =
    observation.status === 'waiting' ||
    (observation.status === 'processing' && !isStartOfProcessing(observation, job))
  return isUnchanged ? { dueAt, lastSeenRunningAt: now } : null
}

const withDoubledDeadline = (options: PollOptions): PollOptions => ({
  ...options,
  deadlineMs: 2 * options.deadlineMs,
})

const isTracked = ({ submission, tracking }: Job): boolean => submission === 'accepted' && tracking !== null

const isStartOfProcessing = (observation: Observation, job: Job): boolean =>
  observation.status === 'processing' && job.status === 'CREATED'

/** Whether the job's tracking goes on as it is: before the deadline, or once expired while upstream keeps the job. */
const isWithinTrackingPeriod = (job: Job, { now, deadlineMs }: PollOptions): boolean =>
  now - (job.submittedAt ?? now) < (job.tracking === 'expired' ? UPSTREAM_RETENTION_MS : deadlineMs)

function pollProgress(observation: Observation, job: Job, options: PollOptions): StateChange {
  const change = scheduleNextPoll(job, options)
  return isStartOfProcessing(observation, job) && change.status === undefined
    ? { ...change, status: 'PROCESSING', startedAt: options.now }
    : change
}

/** Schedules the next poll. Past the deadline, tracking expires; after upstream's retention, it ends. */
function scheduleNextPoll(job: Job, options: PollOptions): StateChange {
  if (isWithinTrackingPeriod(job, options)) return { dueAt: options.nextPollAt }
  if (job.tracking === 'expired') return { tracking: null }
  return {
    tracking: 'expired',
    dueAt: options.nextPollAt,
    ...(!isFinal(job.status) && { status: 'FAILED', error: 'TIMED_OUT', finishedAt: options.now }),
  }
}

/** All fields that a final state sets, so that it replaces a provisional one completely. */
type FinalChange = Required<
  Pick<StateChange, 'status' | 'error' | 'outputs' | 'finishedAt' | 'inferenceMs' | 'cost'>
>

function toFinalChange(
  observation: Observation,
  job: Job,
  { now, outputGraceMs }: PollOptions,
): FinalChange | 'unfinished' | 'no outputs' {
  // A lower bound: the poll may come days after the job ended.
  const earliestFinishedAt = job.lastSeenRunningAt ?? job.submittedAt ?? now
  const defaults: Omit<FinalChange, 'status'> = {
    error: null,
    outputs: [],
    finishedAt: now,
    inferenceMs: null,
    cost: job.cost,
  }
  switch (observation.status) {
    case 'waiting':
    case 'processing':
      return 'unfinished'
    case 'completed':
      if (observation.outputs.length === 0) {
        if (job.completedWithoutOutputSince === null || now - job.completedWithoutOutputSince < outputGraceMs)
          return 'no outputs'
        return { ...defaults, status: 'FAILED', error: 'NO_OUTPUT', inferenceMs: observation.inferenceMs }
      }
      return {
        ...defaults,
        status: 'COMPLETED',
        outputs: observation.outputs.map(output => ({
          ...output,
          expiresAt: earliestFinishedAt + UPSTREAM_RETENTION_MS,
        })),
        inferenceMs: observation.inferenceMs,
      }
    case 'failed':
      return {
        ...defaults,
        status: 'FAILED',
        error: observation.error,
        inferenceMs: observation.inferenceMs,
        // Upstream refunds jobs that it reports as failed. It may still charge a job that it timed out.
        cost: observation.error === 'TIMED_OUT' ? job.cost : 0,
      }
    case 'canceled':
      return { ...defaults, status: 'CANCELED' }
  }
}

/**
 * A webhook reports that the job has ended. Only this is believed; the poll that follows decides the state. A webhook
 * with the row's own token also gives the upstream id, whatever the POST's answer was.
 */
export const webhookReceived =
  (upstreamId: string, now: number): Transition =>
  job => {
    if (job.submission === 'accepted')
      // Raises the fence, because a poll in flight started before the end.
      return job.upstreamId === upstreamId && job.tracking !== null
        ? { dueAt: now, lastSeenRunningAt: now, fence: job.fence + 1 }
        : null
    // The webhook shows that the job runs. Yet upstream answered that it refused the POST, and the job waits to be sent
    // again; or the database is a copy of before the POST.
    const asIfBegun =
      job.submitStartedAt !== null && isWaitingForSubmit(job) ? { ...job, submission: 'begun' as const } : job
    const change = submitRecovered(upstreamId, now, now)(asIfBegun)
    return change && { ...change, lastSeenRunningAt: now }
  }

// ── Cancellation ──

/**
 * If nothing was sent, nothing will be, and it is free. Otherwise upstream goes on: the job keeps its slot and its
 * cost.
 */
export const canceled =
  (now: number): Transition =>
  job =>
    isFinal(job.status)
      ? null
      : { status: 'CANCELED', finishedAt: now, ...(job.submission === 'none' && { cost: 0 }) }
