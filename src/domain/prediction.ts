/**
 * The noun: what was asked, how it stands, and every legal step from one standing to the next. Pure.
 * Invariant: a final state is left only where the gateway itself had guessed it, for a truth learned late.
 */
import type { PredictionErrorCode } from './errors.ts'
import type { VideoModel } from './models.ts'
import type { CircuitTrip } from './submit-circuit.ts'

declare const brand: unique symbol
/** An app's own id. Every read names it first, so that no query can forget whose rows it may see. */
export type AppId = string & { readonly [brand]: 'AppId' }

export const STATUSES = ['QUEUED', 'CREATED', 'PROCESSING', 'COMPLETED', 'FAILED', 'CANCELED'] as const
export type Status = (typeof STATUSES)[number]

/** What is known of the POST. `begun` is on disk before it; `unknown` was sent and never answered. */
export const SUBMISSIONS = ['none', 'begun', 'accepted', 'unknown'] as const
export type Submission = (typeof SUBMISSIONS)[number]

/**
 * How what was sent is followed. `closely`: upstream may be working on it, and it takes one of the account's places,
 * whatever its app was told. `late`: given up, and still looked at now and then for as long as upstream remembers it.
 */
export const TRACKINGS = ['active', 'expired'] as const
export type Tracking = (typeof TRACKINGS)[number]

export const EVENT_TYPES = ['QUEUED', 'STATUS_CHANGED'] as const
export type EventType = (typeof EVENT_TYPES)[number]

export interface Input {
  /** A path of this gateway where it is an upload's. */
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
  /** Its image was uploaded here. */
  uploadId: string | null
  /** Of the restricted token that submitted it, else empty: see scope.ts. */
  restrictionKey: string
  /** The token that submitted it, if one did. */
  tokenId: string | null
}

/** How it stands. All moments are milliseconds since 1970; cost is micro-USD. */
export interface PredictionState {
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

/** A prediction as the workers see it. */
export interface Job extends Prediction {
  submission: Submission
  /** Null: nothing was sent, or all that can be known of it is known. */
  tracking: Tracking | null
  /** Raised by every claim: a write-back with an older one is refused. */
  fence: number
  submitAttempts: number
  dueAt: number
  /** When its image was last seen to be one. */
  imageVerifiedAt: number | null
  /** Looks at its image that failed, one after the other. */
  imageCheckFailures: number
  /** Where upstream has its image, if that was uploaded here. */
  upstreamImageUrl: string | null
  /** When the last POST was about to be sent. */
  submitStartedAt: number | null
  /** When upstream was last known to be still at it. */
  lastSeenRunningAt: number | null
  /** When upstream first called it completed without an output. */
  completedWithoutOutputSince: number | null
}

/** What upstream is sent: it can't fetch an image from here. */
export const upstreamInput = ({ input, upstreamImageUrl }: Job): Input =>
  upstreamImageUrl === null ? input : { ...input, imageUrl: upstreamImageUrl }

export interface PredictionEvent {
  seq: number
  type: EventType
  previousStatus: Status | null
  occurredAt: number
  /** As it was right after the event. */
  prediction: Prediction
}

export type StateChange = Partial<Omit<PredictionState, 'updatedAt'>> &
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
    /** Nothing was sent: the POST takes nothing of the account's minute. */
    submitStartedAt?: null
    /** Null: upstream answered as it should. If this was the trial, it is over. */
    submitCircuit?: CircuitTrip | null
  }
/**
 * Looks at the row as it is now and answers with a change, or with null where the news is old; so poll, webhook, submit
 * answer and reconciliation may come late, twice or in any order.
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

/** What the gateway declares by itself, for want of an answer. */
const PROVISIONAL_ERRORS: ReadonlySet<PredictionErrorCode | null> = new Set([
  'SUBMISSION_UNKNOWN',
  'TIMED_OUT',
])

/** @param error that of the row as it stands */
export const isLegalTransition = (
  from: Status,
  to: Status,
  error: PredictionErrorCode | null = null,
): boolean =>
  NEXT_STATUSES[from].includes(to) || (from === 'FAILED' && PROVISIONAL_ERRORS.has(error) && isFinal(to))

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
