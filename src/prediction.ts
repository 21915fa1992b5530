/**
 * The noun: what was asked, how it stands, and every legal step from one standing to the next.
 * Pure. A `Decide` looks at the row as it is now and answers with a change, or with null where the news is old;
 * so poll, webhook, submit answer and reconciliation may come late, twice or in any order.
 */
import type { PredictionErrorCode } from './errors.ts'
import type { VideoModel } from './models.ts'

declare const brand: unique symbol
/** An app's own id. Every read names it first, so that no query can forget whose rows it may see. */
export type AppId = string & { readonly [brand]: 'AppId' }

export const STATUSES = ['QUEUED', 'CREATED', 'PROCESSING', 'COMPLETED', 'FAILED', 'CANCELED'] as const
export type Status = (typeof STATUSES)[number]

/** What is known of the POST. `begun` is on disk before it; `unknown` was sent and never answered. */
export const SUBMISSIONS = ['none', 'begun', 'accepted', 'unknown'] as const
export type Submission = (typeof SUBMISSIONS)[number]

export const EVENT_TYPES = ['QUEUED', 'STATUS_CHANGED'] as const
export type EventType = (typeof EVENT_TYPES)[number]

export interface Input {
  imageUrl: string
  prompt: string
  negativePrompt: string | null
  duration: number
  enablePromptExpansion: boolean
  seed: number
}

export interface Output {
  url: string
  hasNsfwContent: boolean | null
  expiresAt: number
}

/** What an app asks for; never changes after. */
export interface Draft {
  appId: AppId
  model: VideoModel
  input: Input
  tags: string[]
  metadata: unknown
  retryOf: string | null
}

/** How it stands. All moments are milliseconds since 1970; cost is micro-USD. */
export interface Standing {
  status: Status
  outputs: Output[]
  error: PredictionErrorCode | null
  cost: number
  upstreamId: string | null
  submittedAt: number | null
  startedAt: number | null
  finishedAt: number | null
  updatedAt: number
  inferenceMs: number | null
}

export interface Prediction extends Draft, Standing {
  id: string
  createdAt: number
}

/** A prediction as the workers see it. */
export interface Job extends Prediction {
  submission: Submission
  /** Raised by every claim: a write-back with an older one is refused. */
  fence: number
  attempts: number
  dueAt: number
  /** When the last POST was about to be sent. */
  begunAt: number | null
  /** When upstream first called it completed without an output. */
  emptySince: number | null
}

export interface PredictionEvent {
  seq: number
  type: EventType
  previousStatus: Status | null
  occurredAt: number
  /** As it was right after the event. */
  prediction: Prediction
}

/** Why nothing is submitted for now, whatever is queued. Once upstream can be read again, one submit at a time is a trial. */
export const PAUSES = ['unknown', 'unreachable', 'account', 'throttled'] as const
export type PauseReason = (typeof PAUSES)[number]
export interface Pause {
  reason: PauseReason
  /** No look whether it is over before this. */
  until: number
}
export interface StandingPause extends Pause {
  since: number
  /** Tells one pause from the next. */
  version: number
  /** Upstream can be read again: one submit at a time, until upstream has accepted or rejected it. */
  trial: boolean
  /** Whose submit that is; an answer to an earlier POST proves nothing. */
  trialOf: string | null
  /** Trials that failed, one after the other. */
  failures: number
}

export type Change = Partial<Omit<Standing, 'updatedAt'>> &
  Partial<Pick<Job, 'submission' | 'dueAt' | 'emptySince'>> & {
    /** Nothing was sent: the POST takes nothing of the account's minute. */
    begunAt?: null
    /** Null: upstream answered as it should. If this was the trial, it is over. */
    pause?: Pause | null
  }
export type Decide = (job: Job) => Change | null

const FINAL: ReadonlySet<Status> = new Set(['COMPLETED', 'FAILED', 'CANCELED'])
export const isFinal = (status: Status): boolean => FINAL.has(status)

const NEXT: Readonly<Record<Status, readonly Status[]>> = {
  QUEUED: ['CREATED', 'PROCESSING', 'COMPLETED', 'FAILED', 'CANCELED'],
  CREATED: ['PROCESSING', 'COMPLETED', 'FAILED', 'CANCELED'],
  PROCESSING: ['COMPLETED', 'FAILED', 'CANCELED'],
  COMPLETED: [],
  FAILED: [],
  CANCELED: [],
}
export const isLegal = (from: Status, to: Status): boolean => NEXT[from].includes(to)

/** What came back from the one POST; the upstream contract's money table decides which it is. */
export type SubmitOutcome =
  | { kind: 'accepted'; upstreamId: string }
  | { kind: 'unsent' }
  | { kind: 'rejected' }
  | { kind: 'account' }
  | { kind: 'throttled'; retryAfterMs: number | null }
  | { kind: 'unknown' }

/** What a look at upstream showed. */
export type Observation =
  | { status: 'waiting' }
  | { status: 'processing' }
  | { status: 'completed'; outputs: Omit<Output, 'expiresAt'>[]; inferenceMs: number | null }
  | { status: 'failed'; error: PredictionErrorCode; inferenceMs: number | null }
  | { status: 'canceled' }

const SECOND = 1000
const MINUTE = 60 * SECOND
/** Upstream keeps outputs this long. */
const OUTPUT_LIFE = 7 * 24 * 60 * MINUTE
/** An account in trouble is looked at this often. */
const ACCOUNT_PROBE = MINUTE
/** Upstream counts submits by the minute. */
const THROTTLE_WINDOW = MINUTE
const UNREACHABLE_PROBE = SECOND
const LONGEST_PAUSE = 15 * MINUTE

/**
 * A pause where another one stands, or its trial. On top of one: the newer reason, the longer wait, the first beginning.
 * A trial that failed doubles the wait, from two seconds to a quarter of an hour, so that an outage of submits alone
 * can't burn the queue job by job.
 */
export function pauseOn(
  standing: StandingPause | null,
  next: Pause,
  now: number,
): Omit<StandingPause, 'version'> {
  const fresh = { ...next, since: now, trial: false, trialOf: null, failures: 0 }
  if (standing === null) return fresh
  const { since, trial, failures } = standing
  if (!trial) return { ...fresh, until: Math.max(next.until, standing.until), since, failures }
  const until = Math.max(next.until, now + Math.min(2 ** (failures + 1) * SECOND, LONGEST_PAUSE))
  return { ...fresh, until, failures: failures + 1 }
}

/** The POST's answer. `firstLook` is when to poll first. */
export const answered =
  (outcome: SubmitOutcome, now: number, firstLook: number): Decide =>
  job => {
    if (job.submission !== 'begun') return null
    switch (outcome.kind) {
      case 'accepted':
        return {
          status: 'CREATED',
          submission: 'accepted',
          upstreamId: outcome.upstreamId,
          submittedAt: job.begunAt,
          dueAt: firstLook,
          pause: null,
        }
      case 'rejected':
        return {
          status: 'FAILED',
          error: 'INVALID_INPUT',
          submission: 'none',
          submittedAt: job.begunAt,
          finishedAt: now,
          cost: 0,
          pause: null,
        }
      case 'unsent':
        return {
          ...backToQueue(now, { reason: 'unreachable', until: now + UNREACHABLE_PROBE }),
          begunAt: null,
        }
      case 'account':
        return backToQueue(now, { reason: 'account', until: now + ACCOUNT_PROBE })
      case 'throttled':
        return backToQueue(now, {
          reason: 'throttled',
          until: now + (outcome.retryAfterMs ?? THROTTLE_WINDOW),
        })
      case 'unknown':
        return unknown(job, now)
    }
  }

const backToQueue = (now: number, pause: Pause): Change => ({ submission: 'none', dueAt: now, pause })

/** It may be running and charged: it ends here, and nothing more is sent until upstream can be read. */
const unknown = (job: Job, now: number): Change => ({
  status: 'FAILED',
  error: 'SUBMISSION_UNKNOWN',
  submission: 'unknown',
  submittedAt: job.begunAt,
  finishedAt: now,
  pause: { reason: 'unknown', until: now },
})

/** A row whose POST was begun by a process that did not live to write the answer down. */
export const abandoned =
  (now: number): Decide =>
  job =>
    job.submission === 'begun' ? unknown(job, now) : null

/** What a look showed. A standing never goes back: a late "created" after "processing" is old news. */
export const observed =
  (seen: Observation, now: number, nextLook: number): Decide =>
  job => {
    if (job.submission !== 'accepted' || isFinal(job.status)) return null
    switch (seen.status) {
      case 'waiting':
        return { dueAt: nextLook }
      case 'processing':
        return job.status === 'PROCESSING'
          ? { dueAt: nextLook }
          : { status: 'PROCESSING', startedAt: now, dueAt: nextLook }
      case 'completed':
        if (seen.outputs.length === 0)
          return job.emptySince === null
            ? { emptySince: now, dueAt: nextLook }
            : { status: 'FAILED', error: 'NO_OUTPUT', finishedAt: now, inferenceMs: seen.inferenceMs }
        return {
          status: 'COMPLETED',
          outputs: seen.outputs.map(output => ({ ...output, expiresAt: now + OUTPUT_LIFE })),
          inferenceMs: seen.inferenceMs,
          finishedAt: now,
        }
      case 'failed':
        return {
          status: 'FAILED',
          error: seen.error,
          inferenceMs: seen.inferenceMs,
          finishedAt: now,
          // Upstream refunds what it reports as failed; a job it gave up on for time it may keep charging.
          cost: seen.error === 'TIMED_OUT' ? job.cost : 0,
        }
      case 'canceled':
        return { status: 'CANCELED', finishedAt: now }
    }
  }

/** The look failed, which says nothing of the job: look again. */
export const postponed =
  (nextLook: number): Decide =>
  job =>
    job.submission === 'accepted' && !isFinal(job.status) ? { dueAt: nextLook } : null
