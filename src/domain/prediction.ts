/**
 * The noun: what was asked, how it stands, and every legal step from one standing to the next. Pure.
 * Invariant: a final state is left only where the gateway itself had guessed it, for a truth learned late.
 */
import type { PredictionErrorCode } from './errors.ts'
import type { VideoModel } from './models.ts'
import type { Pause } from './submit-circuit.ts'

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
export const FOLLOWINGS = ['closely', 'late'] as const
export type Following = (typeof FOLLOWINGS)[number]

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
  space: string
  /** The token that submitted it, if one did. */
  token: string | null
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
  /** Null: nothing was sent, or all that can be known of it is known. */
  following: Following | null
  /** Raised by every claim: a write-back with an older one is refused. */
  fence: number
  attempts: number
  dueAt: number
  /** When its image was last seen to be one. */
  imageSeenAt: number | null
  /** Looks at its image that failed, one after the other. */
  imageTries: number
  /** Where upstream has its image, if that was uploaded here. */
  handedUrl: string | null
  /** When the last POST was about to be sent. */
  begunAt: number | null
  /** When upstream was last known to be still at it. */
  runningAt: number | null
  /** When upstream first called it completed without an output. */
  emptySince: number | null
}

/** What upstream is sent: it can't fetch an image from here. */
export const inputSent = ({ input, handedUrl }: Job): Input =>
  handedUrl === null ? input : { ...input, imageUrl: handedUrl }

export interface PredictionEvent {
  seq: number
  type: EventType
  previousStatus: Status | null
  occurredAt: number
  /** As it was right after the event. */
  prediction: Prediction
}

export type Change = Partial<Omit<Standing, 'updatedAt'>> &
  Partial<
    Pick<
      Job,
      | 'submission'
      | 'following'
      | 'fence'
      | 'dueAt'
      | 'imageSeenAt'
      | 'imageTries'
      | 'handedUrl'
      | 'runningAt'
      | 'emptySince'
    >
  > & {
    /** Nothing was sent: the POST takes nothing of the account's minute. */
    begunAt?: null
    /** Null: upstream answered as it should. If this was the trial, it is over. */
    pause?: Pause | null
  }
/**
 * Looks at the row as it is now and answers with a change, or with null where the news is old; so poll, webhook, submit
 * answer and reconciliation may come late, twice or in any order.
 */
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

/** What the gateway declares by itself, for want of an answer. */
const GUESSES: ReadonlySet<PredictionErrorCode | null> = new Set(['SUBMISSION_UNKNOWN', 'TIMED_OUT'])

/** @param error that of the row as it stands */
export const isLegal = (from: Status, to: Status, error: PredictionErrorCode | null = null): boolean =>
  NEXT[from].includes(to) || (from === 'FAILED' && GUESSES.has(error) && isFinal(to))

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
