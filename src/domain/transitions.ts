/**
 * What each piece of news makes of a row. Pure, and total: news that is old, doubled or about another state is null.
 * Invariant: a row whose POST may have been sent is never made one that may be sent again; only a certain refusal does that.
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

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR
/** Upstream remembers jobs, and keeps outputs, this long. */
export const UPSTREAM_RETENTION_MS = 7 * DAY
/** An account in trouble is looked at this often. */
const ACCOUNT_PROBE_DELAY_MS = MINUTE
/** Upstream counts submits by the minute. */
const DEFAULT_RETRY_AFTER_MS = MINUTE
const UNREACHABLE_PROBE_DELAY_MS = SECOND
const MAX_REFUSED_RETRY_DELAY_MS = 15 * MINUTE
/** Looks at an image, before it is given up. */
const MAX_IMAGE_CHECKS = 3

// ── Its image ──

const isWaitingForSubmit = ({ status, submission }: Job): boolean =>
  status === 'QUEUED' && submission === 'none'

/** It ends here, and was never sent. */
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

/** It was uploaded here, and upstream has it. */
export const imageTransferred =
  (upstreamImageUrl: string, now: number): Transition =>
  job => {
    const change = imageVerified(now)(job)
    return change && { ...change, upstreamImageUrl }
  }

/** It is no image, or too large. */
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

/** Whether one more failed look is the last. */
export const isLastImageCheck = (job: Job): boolean => job.imageCheckFailures + 1 >= MAX_IMAGE_CHECKS

/** Nothing could be looked at, which says nothing of the image. */
export const imageCheckPostponed =
  (retryAt: number): Transition =>
  job =>
    isWaitingForSubmit(job) ? { dueAt: retryAt } : null

// ── Its POST ──

/** Upstream has it under this id: as the POST's answer, a webhook with the row's own token, or the list says. */
export const submitAccepted =
  (upstreamId: string, nextPollAt: number): Transition =>
  job => {
    if (job.submission !== 'begun' && job.submission !== 'unknown') return null
    return {
      // What was called an end stays one until the end itself is known.
      ...(job.status === 'QUEUED' && { status: 'CREATED' }),
      submission: 'accepted',
      tracking: 'active',
      upstreamId,
      submittedAt: job.submitStartedAt,
      dueAt: nextPollAt,
      submitCircuit: null,
    }
  }

/** The POST's answer. `nextLook` is when to look first: at the job, or for it. */
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
      case 'throttled':
        return requeueRefused(job, now, {
          reason: 'throttled',
          until: now + (outcome.retryAfterMs ?? DEFAULT_RETRY_AFTER_MS),
        })
      case 'unknown':
        return submitUnknown(now, nextCheckAt)
    }
  }

/** Back into the queue; or, where its app canceled it meanwhile, canceled before it was sent. */
const requeueRefused = ({ status }: Job, now: number, submitCircuit: CircuitTrip): StateChange => ({
  submission: 'none',
  ...(status === 'QUEUED' ? { dueAt: now } : { cost: 0 }),
  submitCircuit,
})

/** What finds the account in trouble over and over may be refused alone: it rests, so that it does not stop the others each time. */
const refusedRetryDelay = (submitAttempts: number): number =>
  submitAttempts < 3 ? 0 : Math.min(2 ** (submitAttempts - 3) * MINUTE, MAX_REFUSED_RETRY_DELAY_MS)

/** It may be running and charged: it keeps its place, is looked for, and nothing more is sent until upstream can be read. */
const submitUnknown = (now: number, nextSearchAt: number): StateChange => ({
  submission: 'unknown',
  tracking: 'active',
  dueAt: nextSearchAt,
  submitCircuit: { reason: 'unknown', until: now },
})

/** A row whose POST was begun by a process that did not live to write the answer down. */
export const submitAbandoned =
  (now: number, nextSearchAt: number): Transition =>
  job =>
    job.submission === 'begun' ? submitUnknown(now, nextSearchAt) : null

export interface SearchOptions {
  now: number
  nextSearchAt: number
  /** After the POST; then its app is told SUBMISSION_UNKNOWN, its place is free, and the search goes on. */
  submitUnknownAfterMs: number
}

/**
 * Upstream's list shows none that is surely this one.
 * @param isAbsent the list was read to its end, and none of it can be this one: so it takes no place either
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

// ── What upstream makes of it ──

export interface PollOptions {
  now: number
  nextPollAt: number
  /** After submission; then the gateway itself calls it TIMED_OUT, and looks now and then. */
  deadlineMs: number
  /** A job that is called completed has this long for its outputs to come. */
  outputGraceMs: number
}

/** What a look showed. A standing never goes back: a late "created" after "processing" is old news. */
export const pollSucceeded =
  (observation: Observation, options: PollOptions): Transition =>
  job => {
    if (!isTracked(job)) return null
    const finalChange = toFinalChange(observation, job, options)
    if (finalChange === 'not yet')
      return { lastSeenRunningAt: options.now, ...pollProgress(observation, job, options) }
    if (finalChange === 'empty')
      return {
        completedWithoutOutputSince: job.completedWithoutOutputSince ?? options.now,
        dueAt: options.nextPollAt,
      }
    // What its app canceled has ended for it; one that was given up is told what the gateway had not guessed.
    const isReported =
      job.status !== 'CANCELED' && !(job.status === 'FAILED' && job.error === finalChange.error)
    return { ...(isReported && finalChange), tracking: null }
  }

/** The look failed, which says nothing of the job. An upstream that can't be read is given twice the time. */
export const pollFailed =
  (options: PollOptions, isAnswered: boolean): Transition =>
  job =>
    isTracked(job)
      ? scheduleNextPoll(job, isAnswered ? options : { ...options, deadlineMs: 2 * options.deadlineMs })
      : null

const isTracked = ({ submission, tracking }: Job): boolean => submission === 'accepted' && tracking !== null

function pollProgress(observation: Observation, job: Job, options: PollOptions): StateChange {
  const hasStarted = observation.status === 'processing' && job.status === 'CREATED'
  const change = scheduleNextPoll(job, options)
  return hasStarted && change.status === undefined
    ? { ...change, status: 'PROCESSING', startedAt: options.now }
    : change
}

/** It is looked at again; ever less closely. */
function scheduleNextPoll(job: Job, { now, nextPollAt, deadlineMs }: PollOptions): StateChange {
  const age = now - (job.submittedAt ?? now)
  if (job.tracking === 'expired')
    return age < UPSTREAM_RETENTION_MS ? { dueAt: nextPollAt } : { tracking: null }
  if (age < deadlineMs) return { dueAt: nextPollAt }
  return {
    tracking: 'expired',
    dueAt: nextPollAt,
    ...(!isFinal(job.status) && { status: 'FAILED', error: 'TIMED_OUT', finishedAt: now }),
  }
}

/** Every field that an end decides, so that it corrects an earlier one whole. */
type FinalChange = Required<
  Pick<StateChange, 'status' | 'error' | 'outputs' | 'finishedAt' | 'inferenceMs' | 'cost'>
>

function toFinalChange(
  observation: Observation,
  job: Job,
  { now, outputGraceMs }: PollOptions,
): FinalChange | 'not yet' | 'empty' {
  // At the earliest: it may be seen days later.
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
      return 'not yet'
    case 'completed':
      if (observation.outputs.length === 0) {
        if (job.completedWithoutOutputSince === null || now - job.completedWithoutOutputSince < outputGraceMs)
          return 'empty'
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
        // Upstream refunds what it reports as failed; a job it gave up on for time it may keep charging.
        cost: observation.error === 'TIMED_OUT' ? job.cost : 0,
      }
    case 'canceled':
      return { ...defaults, status: 'CANCELED' }
  }
}

/**
 * A webhook says that it has ended. Its word is taken for that alone: the look that follows decides. One that carries
 * the row's own token also says under which id it is known, whatever the POST's answer was.
 */
export const webhookReceived =
  (upstreamId: string, now: number): Transition =>
  job => {
    if (job.submission === 'accepted')
      // Its fence is raised: a look under way began before the end.
      return job.upstreamId === upstreamId && job.tracking !== null
        ? { dueAt: now, lastSeenRunningAt: now, fence: job.fence + 1 }
        : null
    // Refused, so it was said, and waiting to be sent again: it runs.
    const begunJob =
      job.submitStartedAt !== null && isWaitingForSubmit(job) ? { ...job, submission: 'begun' as const } : job
    const change = submitAccepted(upstreamId, now)(begunJob)
    return change && { ...change, lastSeenRunningAt: now }
  }

// ── Its app ──

/** Nothing was sent: nothing will be. Else upstream goes on with it, and so does what it takes of the account. */
export const canceled =
  (now: number): Transition =>
  job =>
    isFinal(job.status)
      ? null
      : { status: 'CANCELED', finishedAt: now, ...(job.submission === 'none' && { cost: 0 }) }
