/**
 * What each piece of news makes of a row. Pure, and total: news that is old, doubled or about another state is null.
 * Invariant: a row whose POST may have been sent is never made one that may be sent again; only a certain refusal does that.
 */
import type { PredictionErrorCode } from './errors.ts'
import {
  type Change,
  type Decide,
  isFinal,
  type Job,
  type Observation,
  type SubmitOutcome,
} from './prediction.ts'
import type { Pause } from './submit-circuit.ts'

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR
/** Upstream remembers jobs, and keeps outputs, this long. */
export const UPSTREAM_MEMORY = 7 * DAY
/** An account in trouble is looked at this often. */
const ACCOUNT_PROBE = MINUTE
/** Upstream counts submits by the minute. */
const THROTTLE_WINDOW = MINUTE
const UNREACHABLE_PROBE = SECOND
const LONGEST_REST = 15 * MINUTE
/** Looks at an image, before it is given up. */
const IMAGE_TRIES = 3

// ── Its image ──

const waits = ({ status, submission }: Job): boolean => status === 'QUEUED' && submission === 'none'

/** It ends here, and was never sent. */
const unsent = (error: PredictionErrorCode, now: number): Change => ({
  status: 'FAILED',
  error,
  finishedAt: now,
  cost: 0,
})

export const imageSeen =
  (now: number): Decide =>
  job =>
    waits(job) ? { imageSeenAt: now, imageTries: 0, dueAt: now } : null

/** It was uploaded here, and upstream has it. */
export const imageHanded =
  (url: string, now: number): Decide =>
  job => {
    const change = imageSeen(now)(job)
    return change && { ...change, handedUrl: url }
  }

/** It is no image, or too large. */
export const imageRefused =
  (now: number): Decide =>
  job =>
    waits(job) ? unsent('INVALID_INPUT', now) : null

export const imageMissed =
  (now: number, nextTry: number): Decide =>
  job => {
    if (!waits(job)) return null
    const imageTries = job.imageTries + 1
    if (imageTries < IMAGE_TRIES) return { imageSeenAt: null, imageTries, dueAt: nextTry }
    return { imageTries, ...unsent('IMAGE_UNREACHABLE', now) }
  }

/** Whether one more failed look is the last. */
export const isLastTry = (job: Job): boolean => job.imageTries + 1 >= IMAGE_TRIES

/** Nothing could be looked at, which says nothing of the image. */
export const imageUntried =
  (nextTry: number): Decide =>
  job =>
    waits(job) ? { dueAt: nextTry } : null

// ── Its POST ──

/** Upstream has it under this id: as the POST's answer, a webhook with the row's own token, or the list says. */
export const accepted =
  (upstreamId: string, nextLook: number): Decide =>
  job => {
    if (job.submission !== 'begun' && job.submission !== 'unknown') return null
    return {
      // What was called an end stays one until the end itself is known.
      ...(job.status === 'QUEUED' && { status: 'CREATED' }),
      submission: 'accepted',
      following: 'closely',
      upstreamId,
      submittedAt: job.begunAt,
      dueAt: nextLook,
      pause: null,
    }
  }

/** The POST's answer. `nextLook` is when to look first: at the job, or for it. */
export const answered =
  (outcome: SubmitOutcome, now: number, nextLook: number): Decide =>
  job => {
    if (job.submission !== 'begun') return null
    switch (outcome.kind) {
      case 'accepted':
        return accepted(outcome.upstreamId, nextLook)(job)
      case 'rejected':
        return {
          ...(job.status === 'QUEUED'
            ? { ...unsent('INVALID_INPUT', now), submittedAt: job.begunAt }
            : { cost: 0 }),
          submission: 'none',
          pause: null,
        }
      case 'unsent':
        return {
          ...refused(job, now, { reason: 'unreachable', until: now + UNREACHABLE_PROBE }),
          begunAt: null,
        }
      case 'account':
        return {
          ...refused(job, now, { reason: 'account', until: now + ACCOUNT_PROBE }),
          ...(job.status === 'QUEUED' && { dueAt: now + restOf(job.attempts) }),
        }
      case 'throttled':
        return refused(job, now, {
          reason: 'throttled',
          until: now + (outcome.retryAfterMs ?? THROTTLE_WINDOW),
        })
      case 'unknown':
        return unknown(now, nextLook)
    }
  }

/** Back into the queue; or, where its app canceled it meanwhile, canceled before it was sent. */
const refused = ({ status }: Job, now: number, pause: Pause): Change => ({
  submission: 'none',
  ...(status === 'QUEUED' ? { dueAt: now } : { cost: 0 }),
  pause,
})

/** What finds the account in trouble over and over may be refused alone: it rests, so that it does not stop the others each time. */
const restOf = (attempts: number): number =>
  attempts < 3 ? 0 : Math.min(2 ** (attempts - 3) * MINUTE, LONGEST_REST)

/** It may be running and charged: it keeps its place, is looked for, and nothing more is sent until upstream can be read. */
const unknown = (now: number, nextLook: number): Change => ({
  submission: 'unknown',
  following: 'closely',
  dueAt: nextLook,
  pause: { reason: 'unknown', until: now },
})

/** A row whose POST was begun by a process that did not live to write the answer down. */
export const abandoned =
  (now: number, nextLook: number): Decide =>
  job =>
    job.submission === 'begun' ? unknown(now, nextLook) : null

export interface Search {
  now: number
  next: number
  /** After the POST; then its app is told SUBMISSION_UNKNOWN, its place is free, and the search goes on. */
  patienceMs: number
}

/**
 * Upstream's list shows none that is surely this one.
 * @param isAbsent the list was read to its end, and none of it can be this one: so it takes no place either
 */
export const unfound =
  ({ now, next, patienceMs }: Search, isAbsent: boolean): Decide =>
  job => {
    if (job.submission !== 'unknown' || job.following === null) return null
    const age = now - (job.begunAt ?? now)
    const isOver = age >= patienceMs
    return {
      ...(isOver || isAbsent ? { following: 'late' } : {}),
      ...(age < UPSTREAM_MEMORY ? { dueAt: next } : { following: null }),
      ...(job.status === 'QUEUED' &&
        isOver && {
          status: 'FAILED',
          error: 'SUBMISSION_UNKNOWN',
          submittedAt: job.begunAt,
          finishedAt: now,
        }),
    }
  }

// ── What upstream makes of it ──

export interface Look {
  now: number
  next: number
  /** After submission; then the gateway itself calls it TIMED_OUT, and looks now and then. */
  deadlineMs: number
  /** A job that is called completed has this long for its outputs to come. */
  graceMs: number
}

/** What a look showed. A standing never goes back: a late "created" after "processing" is old news. */
export const observed =
  (seen: Observation, look: Look): Decide =>
  job => {
    if (!isFollowed(job)) return null
    const ending = endOf(seen, job, look)
    if (ending === 'not yet') return { runningAt: look.now, ...progress(seen, job, look) }
    if (ending === 'empty') return { emptySince: job.emptySince ?? look.now, dueAt: look.next }
    // What its app canceled has ended for it; one that was given up is told what the gateway had not guessed.
    const isTold = job.status !== 'CANCELED' && !(job.status === 'FAILED' && job.error === ending.error)
    return { ...(isTold && ending), following: null }
  }

/** The look failed, which says nothing of the job. An upstream that can't be read is given twice the time. */
export const missed =
  (look: Look, isAnswered: boolean): Decide =>
  job =>
    isFollowed(job) ? goOn(job, isAnswered ? look : { ...look, deadlineMs: 2 * look.deadlineMs }) : null

const isFollowed = ({ submission, following }: Job): boolean =>
  submission === 'accepted' && following !== null

function progress(seen: Observation, job: Job, look: Look): Change {
  const moves = seen.status === 'processing' && job.status === 'CREATED'
  const change = goOn(job, look)
  return moves && change.status === undefined
    ? { ...change, status: 'PROCESSING', startedAt: look.now }
    : change
}

/** It is looked at again; ever less closely. */
function goOn(job: Job, { now, next, deadlineMs }: Look): Change {
  const age = now - (job.submittedAt ?? now)
  if (job.following === 'late') return age < UPSTREAM_MEMORY ? { dueAt: next } : { following: null }
  if (age < deadlineMs) return { dueAt: next }
  return {
    following: 'late',
    dueAt: next,
    ...(!isFinal(job.status) && { status: 'FAILED', error: 'TIMED_OUT', finishedAt: now }),
  }
}

/** Every field that an end decides, so that it corrects an earlier one whole. */
type Ending = Required<Pick<Change, 'status' | 'error' | 'outputs' | 'finishedAt' | 'inferenceMs' | 'cost'>>

function endOf(seen: Observation, job: Job, { now, graceMs }: Look): Ending | 'not yet' | 'empty' {
  // At the earliest: it may be seen days later.
  const made = job.runningAt ?? job.submittedAt ?? now
  const ending: Omit<Ending, 'status'> = {
    error: null,
    outputs: [],
    finishedAt: now,
    inferenceMs: null,
    cost: job.cost,
  }
  switch (seen.status) {
    case 'waiting':
    case 'processing':
      return 'not yet'
    case 'completed':
      if (seen.outputs.length === 0) {
        if (job.emptySince === null || now - job.emptySince < graceMs) return 'empty'
        return { ...ending, status: 'FAILED', error: 'NO_OUTPUT', inferenceMs: seen.inferenceMs }
      }
      return {
        ...ending,
        status: 'COMPLETED',
        outputs: seen.outputs.map(output => ({ ...output, expiresAt: made + UPSTREAM_MEMORY })),
        inferenceMs: seen.inferenceMs,
      }
    case 'failed':
      return {
        ...ending,
        status: 'FAILED',
        error: seen.error,
        inferenceMs: seen.inferenceMs,
        // Upstream refunds what it reports as failed; a job it gave up on for time it may keep charging.
        cost: seen.error === 'TIMED_OUT' ? job.cost : 0,
      }
    case 'canceled':
      return { ...ending, status: 'CANCELED' }
  }
}

/**
 * A webhook says that it has ended. Its word is taken for that alone: the look that follows decides. One that carries
 * the row's own token also says under which id it is known, whatever the POST's answer was.
 */
export const announced =
  (upstreamId: string, now: number): Decide =>
  job => {
    if (job.submission === 'accepted')
      // Its fence is raised: a look under way began before the end.
      return job.upstreamId === upstreamId && job.following !== null
        ? { dueAt: now, runningAt: now, fence: job.fence + 1 }
        : null
    // Refused, so it was said, and waiting to be sent again: it runs.
    const isBegun = job.begunAt !== null && waits(job) ? { ...job, submission: 'begun' as const } : job
    const change = accepted(upstreamId, now)(isBegun)
    return change && { ...change, runningAt: now }
  }

// ── Its app ──

/** Nothing was sent: nothing will be. Else upstream goes on with it, and so does what it takes of the account. */
export const canceled =
  (now: number): Decide =>
  job =>
    isFinal(job.status)
      ? null
      : { status: 'CANCELED', finishedAt: now, ...(job.submission === 'none' && { cost: 0 }) }
