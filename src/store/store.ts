/**
 * The questions that may be asked of what is so and what has happened: every engine answers these, and no caller
 * knows which engine it is. Moments are milliseconds since 1970 and come from the caller.
 *
 * Invariant: a status, its row and its event change in one transaction, in `create` and `change` and nowhere else;
 * `seq` numbers events in commit order, without gaps. After such a commit the store rings.
 */

import type { Scope } from '../domain/access-scope.ts'
import type { AppLimits, LimitViolation } from '../domain/app-limits.ts'
import type { ConcurrencyLimit } from '../domain/concurrency-limit.ts'
import type { VideoModel } from '../domain/models.ts'
import type { AppId, Draft, Job, Prediction, PredictionEvent, Transition } from '../domain/prediction.ts'
import type { Filter } from '../domain/prediction-filter.ts'
import type { SubmitCircuit } from '../domain/submit-circuit.ts'
import type { Upload, UploadedImage } from '../domain/upload.ts'

export interface Store
  extends DatabaseIdentity,
    PredictionStore,
    QueueStore,
    EventStore,
    AppStore,
    UploadStore {
  /** Throws if the engine does not answer. */
  ping(): Promise<void>
  close(): Promise<void>
}

export interface DatabaseIdentity {
  /** Made with the database: a cursor of another epoch is no cursor of this log. */
  readonly epoch: Buffer
  /** 16 bytes, secret: what cursors are sealed with. */
  readonly cursorKey: Buffer
  /** 32 bytes, secret: what the addresses of webhooks are made with. */
  readonly webhookKey: Buffer
  /** 32 bytes, secret: what access tokens are signed with. */
  readonly tokenKey: Buffer
  /** Binds a new database to `upstream`; answers with the upstream it belongs to, which may be another one. */
  bindUpstream(upstream: string): Promise<string>
}

/** The same key and fingerprint within 24 hours, in one space of one app, is the same request. */
export interface Idempotency {
  /** A key is a key within the app, or within what a restricted token sees. */
  restrictionKey: string
  key: string
  fingerprint: string
}

/** What a key is already used for: this very request, or another one. */
interface IdempotentMatch {
  kind: 'repeated' | 'conflict'
  prediction: Prediction
}
export type CreateResult =
  | { kind: 'created'; prediction: Prediction }
  | IdempotentMatch
  | { kind: 'refused'; violation: LimitViolation | { code: 'FORBIDDEN' } }

/** What a submit is measured by, beside its app's limits. */
export interface TokenLimits {
  /** Predictions that this token may have made. */
  maxSubmits: number
}

/** A place in the list, between two predictions. */
export interface ListPosition {
  createdAt: number
  id: string
}

export interface PageRequest {
  /** How many, from the newest end of the range, or with `backward` from its oldest. */
  limit: number
  backward: boolean
  after: ListPosition | null
  before: ListPosition | null
  filter: Filter
}

interface PredictionPage {
  /** Newest first, whichever the direction. */
  predictions: Prediction[]
  hasNextPage: boolean
  hasPreviousPage: boolean
}

export interface PredictionStore {
  /**
   * Within the app's limits, counted in the transaction that writes. FORBIDDEN: the token has made `maxSubmits` already.
   * What is repeated is answered, and measured by nothing.
   */
  create(
    draft: Draft & { cost: number },
    idempotency: Idempotency | null,
    now: number,
    tokenLimits?: TokenLimits,
  ): Promise<CreateResult>
  /** What a request with this key would be answered with; null if the key is free. */
  findByIdempotencyKey(appId: AppId, idempotency: Idempotency, now: number): Promise<IdempotentMatch | null>
  get(scope: Scope, id: string): Promise<Prediction | null>
  /** In the order of `ids`; null for those that are out of the scope. */
  getMany(scope: Scope, ids: readonly string[]): Promise<(Prediction | null)[]>
  list(scope: Scope, page: PageRequest): Promise<PredictionPage>
  /** Median of submission to end over the newest 101 completed jobs of a model, in ms; null if there is none. */
  medianDuration(model: VideoModel): Promise<number | null>
  /**
   * How long the newest completed jobs of a model took, as far as looks can tell; newest first. One that took more than
   * `longestMs` was looked at too rarely to tell.
   */
  recentDurations(model: VideoModel, limit: number, maxDurationMs: number): Promise<DurationRange[]>
  /**
   * The one writer of status. What an app acts on (status, error, cost) changes with an event, and not without. Null, and nothing written, if there is no such row, the fence is not the row's own,
   * or `decide` has nothing to change. Throws on a transition that is not legal.
   */
  change(id: string, transition: Transition, now: number, fence?: number): Promise<Job | null>
}

/** How long a job took: still running at `from`, ended by `to`; ms since it was sent. */
export interface DurationRange {
  from: number
  to: number
}

export interface Claim {
  now: number
  /** A claimed row becomes due again by itself then, should the claimant die. */
  leaseUntil: number
  limit: number
}

export interface SubmitClaim extends Claim {
  /** Begun and in flight at once; null is no limit. */
  upstreamConcurrency: number | null
  /** POSTs in any 60 s; null is no limit. */
  upstreamSubmitsPerMinute: number | null
  /** Only rows whose image has been seen after. */
  imageVerifiedAfter: number
}

export interface ImageClaim extends Claim {
  /** An image seen before is looked at again. */
  imageVerifiedAfter: number
  /** Rows never sent whose image has been seen; no more are made ready. */
  readyTarget: number
  /** None of these apps'. */
  exceptApps?: Iterable<AppId>
}

/** A look that brought nothing new. */
export interface RescheduledPoll {
  id: string
  fence: number
  dueAt: number
  lastSeenRunningAt: number | null
}

/** Rows that are not at their end, by what they wait for. */
interface StateCounts {
  queued: number
  submitting: number
  inFlight: number
  expired: number
  unresolved: number
}

export interface QueueStore {
  /**
   * Claims waiting rows for a look at their image, of the first `stock` in the order of claimSubmits. While submits are
   * paused, only those whose image was never seen.
   */
  claimImageChecks(claim: ImageClaim): Promise<Job[]>
  /**
   * Claims waiting rows for a POST and marks them `begun`, as far as the account's limits go and nothing pauses submits:
   * of the app with the fewest in flight for its weight, and the oldest of it (fairness.ts). None of an app that has its
   * `maxInFlight`. When this returns, the intent is on disk.
   */
  claimSubmits(claim: SubmitClaim): Promise<Job[]>
  /** 1 is next, in the order of claimSubmits; null for those that do not wait. In the order of `ids`. */
  queuePositions(appId: AppId, ids: readonly string[]): Promise<(number | null)[]>
  /** Rows upstream has accepted that are due for a look, whatever their app was told of them. */
  claimPolls(claim: Claim): Promise<Job[]>
  /** They are due later; those whose fence is another's by now stay as they are. One commit. */
  reschedule(polls: readonly RescheduledPoll[]): Promise<void>
  /** Rows whose POST was never answered and that are due for a search; first those whose app still waits. */
  claimUnresolvedSubmits(claim: Claim): Promise<Job[]>
  /** Rows upstream has accepted before, and that still take a place. */
  findOverdueIds(acceptedBefore: number, limit: number): Promise<string[]>
  /** Whether another row's POST of that model was begun in between (both included) and has, or had, no answer. */
  hasConflictingSubmit(job: Job, from: number, to: number): Promise<boolean>
  /** Rows whose POST was begun and whose claimant has not come back; `except` are those the caller itself has in hand. */
  claimAbandonedSubmits(claim: Claim & { exceptIds?: Iterable<string> }): Promise<Job[]>
  /** What pauses submits, if anything does. */
  submitCircuit(): Promise<SubmitCircuit | null>
  /** The pause, if a look is due; the next look is put off to `next`. */
  claimCircuitProbe(
    now: number,
    nextProbeAt: (circuit: SubmitCircuit) => number,
  ): Promise<SubmitCircuit | null>
  /** This very pause becomes a trial: one submit at a time. A pause that began since stays. */
  halfOpenCircuit(version: number): Promise<boolean>
  /** Null: the account may have all it is configured for. */
  concurrencyLimit(): Promise<ConcurrencyLimit | null>
  /** The prediction that has this upstream id. */
  findIdByUpstreamId(upstreamId: string): Promise<string | null>
  /** The clock was set ahead by so much, or back: what is due, what pauses, and when POSTs without an answer were begun. */
  shiftDeadlines(ms: number): Promise<void>
  countByState(): Promise<StateCounts>
}

interface EventsRequest {
  scope: Scope
  /** Events with a greater `seq`. */
  afterSeq: number
  limit: number
  predictionId?: string
}

export interface EventsResult {
  events: PredictionEvent[]
  /** There is nothing of this request up to here that is not in `events`. */
  scannedUpTo: number
  /** Events up to here have been pruned. */
  prunedUpTo: number
}

export interface EventStore {
  /** The newest event's `seq`, and the last pruned one's; 0 where there is none. */
  eventRange(): Promise<{ head: number; prunedUpTo: number }>
  eventsAfter(request: EventsRequest): Promise<EventsResult>
  /** The first `limit` events of each, behind `after` and oldest first; in the order of `ids`. */
  histories(
    scope: Scope,
    ids: readonly string[],
    afterSeq: number,
    limit: number,
  ): Promise<PredictionEvent[][]>
  /** The events of all apps: for the feed's tail alone, which hands each to its own app. */
  allEventsAfter(afterSeq: number, limit: number): Promise<EventsResult>
  /** The prediction and the log's head at one moment: what is newer than `head` is not yet in it. */
  snapshot(scope: Scope, id: string): Promise<{ prediction: Prediction; head: number } | null>
  /** Deletes at most `limit` of the oldest events that occurred before, none behind `last`; answers how many. */
  pruneEvents(occurredBefore: number, limit: number, maxSeq?: number): Promise<number>
}

/** Null is no limit. Whoever goes by them reads them anew: they change while the gateway runs. */
export interface App {
  id: AppId
  name: string
  limits: AppLimits
}

export interface ApiKey {
  /** The visible beginning of the key. */
  prefix: string
  /** SHA-256 of the whole key, hex. */
  hash: string
  expiresAt: number | null
}

/** What may be shown of a key. */
export interface ApiKeyInfo {
  prefix: string
  createdAt: number
  expiresAt: number | null
}

export interface AppUsage {
  inFlight: number
  queued: number
  /** Micro-USD, of predictions created in this UTC month. */
  spent: number
}

export interface AppStore {
  /** With its first key, if one is given, in one commit. Null, and nothing written, if the name is taken. */
  createApp(
    name: string,
    now: number,
    initial?: { limits?: Partial<AppLimits>; key?: ApiKey },
  ): Promise<App | null>
  getApp(id: AppId): Promise<App | null>
  findAppByName(name: string): Promise<App | null>
  /** By name. */
  listApps(): Promise<App[]>
  countApps(): Promise<number>
  /** What the patch doesn't name stays. Null if there is no such app. */
  setLimits(id: AppId, patch: Partial<AppLimits>): Promise<App | null>
  /** Oldest first. */
  listKeys(appId: AppId): Promise<ApiKeyInfo[]>
  addKey(appId: AppId, key: ApiKey, now: number): Promise<void>
  findKey(prefix: string): Promise<(ApiKey & { appId: AppId }) | null>
  /**
   * Adds the key, and those the app has end at `until`, or earlier where they would have anyway: one commit. Answers
   * with those that were still good, as they now end.
   */
  rotateKeys(appId: AppId, key: ApiKey, oldKeysExpireAt: number, now: number): Promise<ApiKeyInfo[]>
  /** False if there is none of that prefix. */
  revokeKey(prefix: string): Promise<boolean>
  /** All of an app's; answers with their prefixes. */
  revokeAllKeys(appId: AppId): Promise<string[]>
  /** Deletes the keys that expired before; answers how many. */
  pruneKeys(expiredBefore: number): Promise<number>
  /** Of what is in the scope. */
  usage(scope: Scope, now: number): Promise<AppUsage>
}

interface NewUpload {
  image: UploadedImage
  restrictionKey: string
  data: Buffer
}

/** Refused: the app keeps so much that this would be too much, until some of it has expired. */
export type UploadResult = { kind: 'kept'; upload: Upload } | { kind: 'refused'; retryAfterMs: number }

/** What of an image upstream has to be told. */
export interface StoredImage extends UploadedImage {
  /** Where upstream has it, if it surely has. */
  upstreamUrl: string | null
}

export interface UploadStore {
  /**
   * Keeps it for seven days from now on; the same bytes in the same space are the same upload. What the app keeps is
   * counted in the transaction that makes room for it. One of few bytes counts for more, so that there can't be millions.
   * @param maxUploadBytesPerApp bytes an app may keep
   */
  saveUpload(upload: NewUpload, maxUploadBytesPerApp: number, now: number): Promise<UploadResult>
  /** In the order of `ids`; null for those that are out of the scope, or have expired. */
  getUploads(scope: Scope, ids: readonly string[], now: number): Promise<(Upload | null)[]>
  /** For whoever has its address: until it is pruned. */
  uploadByPreviewToken(previewToken: string): Promise<Upload | null>
  /** Whatever its age: a job that waits keeps it. */
  imageByUploadId(uploadId: string, now: number): Promise<StoredImage | null>
  /** Its bytes, from 0 on; null behind the last. */
  imageChunk(image: Pick<UploadedImage, 'appId' | 'hash'>, index: number): Promise<Buffer | null>
  /** Upstream has it there, until then. */
  setUpstreamUrl(image: Pick<UploadedImage, 'appId' | 'hash'>, url: string, expiresAt: number): Promise<void>
  /** One small step: expired uploads that no waiting job needs, or bytes that no upload needs. False: there is no more. */
  pruneUploads(now: number): Promise<boolean>
}
