/**
 * The prediction: its input, its state and every legal transition. Pure.
 * Invariant: a final state changes only if the gateway had assumed it and the real one became known.
 */
import type { PredictionErrorCode } from './errors.ts'
import { MODELS, type VideoModel } from './models.ts'
import type { CircuitTrip } from './submit-circuit.ts'

declare const brand: unique symbol
/** Id of an app. Every read takes it first, so that no query can forget whose rows it may read. */
export type AppId = string & { readonly [brand]: 'AppId' }

export const STATUSES = ['QUEUED', 'CREATED', 'PROCESSING', 'COMPLETED', 'FAILED', 'CANCELED'] as const
export type Status = (typeof STATUSES)[number]

/**
 * State of the POST. `begun` is on disk before the POST is sent. `unknown`: the POST may have been sent, and there is
 * no answer, or an answer that does not say whether a job exists (a 5xx, a 3xx, HTML, an id beside a refusal).
 */
export const SUBMISSIONS = ['none', 'begun', 'accepted', 'unknown'] as const
export type Submission = (typeof SUBMISSIONS)[number]

/**
 * Tracking of a submitted job. `active`: upstream may be working on it, and it holds a slot, whatever status its app
 * has seen. `expired`: the job holds no slot. It is past its deadline, or its submission is `unknown` and upstream's
 * whole list was read and cannot contain it. It is polled or searched for rarely, until upstream has deleted its jobs
 * of that time. Null: see `Job.tracking`.
 */
export const TRACKINGS = ['active', 'expired'] as const
export type Tracking = (typeof TRACKINGS)[number]

/** `QUEUED`: the prediction was created. `STATUS_CHANGED`: its status, its error or its cost has changed. */
export const EVENT_TYPES = ['QUEUED', 'STATUS_CHANGED'] as const
export type EventType = (typeof EVENT_TYPES)[number]

export interface Input {
  /** For an upload: the path of its preview on this gateway. */
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

/** Fields that are set on creation and never change. */
export interface Draft {
  appId: AppId
  model: VideoModel
  input: Input
  tags: string[]
  metadata: unknown
  retryOf: string | null
  /** The upload that is its image; null if the image is a URL. */
  uploadId: string | null
  /** Key of the restriction of the token that submitted it, else empty: see access-scope.ts. */
  restrictionKey: string
  /** The token that submitted it; null if it was a key. */
  tokenId: string | null
}

/** Mutable state that an app sees. Times are Unix milliseconds, cost is micro-USD. */
export interface PredictionState {
  /** 1 at creation; every change of the row raises it, also one that no app sees. */
  version: number
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

export interface Prediction extends Draft, PredictionState {
  id: string
  createdAt: number
}

/** The prediction as it was when it was created: it has what the request had, and nothing of what happened since. */
export const asSubmitted = (prediction: Prediction): Prediction => ({
  ...prediction,
  version: 1,
  status: 'QUEUED',
  outputs: [],
  error: null,
  cost: MODELS[prediction.model].price,
  upstreamId: null,
  submittedAt: null,
  startedAt: null,
  finishedAt: null,
  updatedAt: prediction.createdAt,
  inferenceMs: null,
})

/** A prediction with the internal state that the workers use. */
export interface Job extends Prediction {
  submission: Submission
  /**
   * Null: no POST was sent (or upstream refused it), a POST is under way (`submission` is `begun`), or nothing more
   * can be learned about the job.
   */
  tracking: Tracking | null
  /**
   * Fencing token, raised by each claim and by each webhook of an accepted job. A write with an older one changes
   * nothing.
   */
  fence: number
  submitAttempts: number
  dueAt: number
  /** When the image was last verified. */
  imageVerifiedAt: number | null
  /** Failed image checks in a row. */
  imageCheckFailures: number
  /** URL of the uploaded image in upstream's storage. */
  upstreamImageUrl: string | null
  /** Start of the last POST. */
  submitStartedAt: number | null
  /** When upstream last reported the job as running. */
  lastSeenRunningAt: number | null
  /** When upstream first reported the job as completed without outputs. */
  completedWithoutOutputSince: number | null
}

/** Whether the job holds a slot of the account. */
export const hasSlot = ({ submission, tracking }: Pick<Job, 'submission' | 'tracking'>): boolean =>
  submission === 'begun' || tracking === 'active'

/** The input as upstream gets it. Upstream cannot fetch images from this gateway. */
export const upstreamInput = ({ input, upstreamImageUrl }: Job): Input =>
  upstreamImageUrl === null ? input : { ...input, imageUrl: upstreamImageUrl }

/** The part of a prediction that an event stores. */
export const toPredictionState = (state: PredictionState): PredictionState => ({
  version: state.version,
  status: state.status,
  outputs: state.outputs,
  error: state.error,
  cost: state.cost,
  upstreamId: state.upstreamId,
  submittedAt: state.submittedAt,
  startedAt: state.startedAt,
  finishedAt: state.finishedAt,
  updatedAt: state.updatedAt,
  inferenceMs: state.inferenceMs,
})

/** A position in the event log: behind an event. */
export interface LogPosition {
  /** `seq` of the event; 0: before the first. */
  seq: number
  /**
   * The event's random mark, 1 to 2^32 - 1. If the log is rewound to a copy and grows again, another event has the `seq`,
   * and another mark. Null: the event was written before there were marks, or there is no event.
   */
  mark: number | null
}

export interface PredictionEvent extends LogPosition {
  type: EventType
  /** Null for the first event. It may equal the new status: then only the error or the cost has changed. */
  previousStatus: Status | null
  occurredAt: number
  /** The prediction right after the event. */
  prediction: Prediction
}

export type StateChange = Partial<Omit<PredictionState, 'version' | 'updatedAt'>> &
  Partial<
    Pick<
      Job,
      | 'submission'
      | 'tracking'
      | 'fence'
      | 'dueAt'
      | 'imageVerifiedAt'
      | 'imageCheckFailures'
      | 'upstreamImageUrl'
      | 'lastSeenRunningAt'
      | 'completedWithoutOutputSince'
    >
  > & {
    /** Null: nothing was sent, so the POST does not count against the account's submits per minute. */
    submitStartedAt?: number | null
    /** Null: upstream answered normally. If this was the probe, the circuit closes. */
    submitCircuit?: CircuitTrip | null
  }
/**
 * Returns the change of the current row, or null if the observation is old. Polls, webhooks, submit answers and the
 * reconciler may therefore report late, twice or in any order.
 */
export type Transition = (job: Job) => StateChange | null

const FINAL_STATUSES: ReadonlySet<Status> = new Set(['COMPLETED', 'FAILED', 'CANCELED'])
export const isFinal = (status: Status): boolean => FINAL_STATUSES.has(status)

const NEXT_STATUSES: Readonly<Record<Status, readonly Status[]>> = {
  QUEUED: ['CREATED', 'PROCESSING', 'COMPLETED', 'FAILED', 'CANCELED'],
  CREATED: ['PROCESSING', 'COMPLETED', 'FAILED', 'CANCELED'],
  PROCESSING: ['COMPLETED', 'FAILED', 'CANCELED'],
  COMPLETED: [],
  FAILED: [],
  CANCELED: [],
}

/** Errors that the gateway sets itself, because upstream has not said how the job ended. */
const PROVISIONAL_ERRORS: ReadonlySet<PredictionErrorCode | null> = new Set([
  'SUBMISSION_UNKNOWN',
  'TIMED_OUT',
])

/** @param error the row's error before the transition */
export const isLegalTransition = (
  from: Status,
  to: Status,
  error: PredictionErrorCode | null = null,
): boolean =>
  NEXT_STATUSES[from].includes(to) || (from === 'FAILED' && PROVISIONAL_ERRORS.has(error) && isFinal(to))

/** Result of a POST. upstream/submit-outcome.ts decides which. */
export type SubmitOutcome =
  | { kind: 'accepted'; upstreamId: string }
  | { kind: 'unsent' }
  | { kind: 'rejected' }
  | { kind: 'account' }
  /** Upstream does not offer the model at present. */
  | { kind: 'model' }
  /** Nothing was sent: the jobs of the model wait until this time. */
  | { kind: 'held'; until: number }
  | { kind: 'throttled'; retryAfterMs: number | null }
  | { kind: 'unknown' }

/** Result of a poll. */
export type Observation =
  | { status: 'waiting' }
  | { status: 'processing' }
  | {
      status: 'completed'
      outputs: Omit<Output, 'expiresAt'>[]
      /** Number of outputs that are not web addresses; missing without any. */
      unreadableOutputs?: number
      inferenceMs: number | null
    }
  | { status: 'failed'; error: PredictionErrorCode; inferenceMs: number | null }
  | { status: 'canceled' }
