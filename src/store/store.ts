/**
 * The store interface that every engine implements. Callers do not know the engine. Times are milliseconds since 1970
 * and are passed by the caller.
 *
 * Several processes may share a database, but not their memory and clocks. What only one process knows is therefore an
 * argument with the name `thisProcess`: the rows that it is sending, the apps that are busy in it, the events that its
 * readers have pinned, the time at which it started. A missing argument means none of these. An engine for
 * several gateways writes these facts to rows, so that each gateway respects those of the others. A process reports a
 * change of its clock with `followProcessClock`.
 *
 * Invariant: a prediction's status, row and event change in one transaction, only in `create` and `change`. `seq`
 * numbers events in commit order, without gaps. After such a commit the store calls `notify`. Every change of a
 * prediction's row raises its `version` in the same commit, claims included.
 */

import type { Scope } from '../domain/access-scope.ts'
import type { AppLimits } from '../domain/app-limits.ts'
import type { ConcurrencyLimit } from '../domain/concurrency-limit.ts'
import type { Hold, HoldReason, HoldTarget } from '../domain/hold.ts'
import type { Idempotency, IdempotentMatch } from '../domain/idempotency.ts'
import type { VideoModel } from '../domain/models.ts'
import type { CreateResult, TokenLimits } from '../domain/plan-create.ts'
import type {
  AppId,
  Draft,
  Job,
  LogPosition,
  Prediction,
  PredictionEvent,
  Transition,
} from '../domain/prediction.ts'
import type { Filter } from '../domain/prediction-filter.ts'
import type { LostTime, RestoreReport, SpendCorrection } from '../domain/restore.ts'
import type { AllowanceRequest } from '../domain/submit-allowance.ts'
import type { SubmitCircuit } from '../domain/submit-circuit.ts'
import type { Upload, UploadedImage } from '../domain/upload.ts'

export interface StoreOptions {
  /**
   * Given by a gateway, whose workers claim rows; not by a command that runs beside one. An engine that cannot tell
   * whether an earlier gateway still runs admits one gateway at a time. Leases taken before `gatewayStartedAt` are then
   * void: their rows are due for the reconciler, a poll or an image check at once.
   */
  thisProcess?: {
    gatewayStartedAt: number
    /** The operator says that the database was replaced by a copy: see `RestoreStore`. */
    isRestored?: boolean
  }
  /** Max wait for a lock of another process, ms (default 100). The event loop may be blocked meanwhile. */
  lockTimeoutMs?: number
}

/** A verified copy of a database. */
export interface BackupResult {
  bytes: number
  /** Number of rows by table, in the moment of the copy. */
  rows: Record<string, number>
}

export interface Store
  extends DatabaseIdentity,
    PredictionStore,
    QueueStore,
    HoldStore,
    RestoreStore,
    EventStore,
    AppStore,
    UploadStore {
  /** What a write would meet now: 'ok', or why it would fail. It writes a little, at most once a second. */
  ping(): Promise<'ok' | DatabaseFault>
  /** The StartupError for an error of this store that says the database can't be used; any other error as it is. */
  toStartupError(error: unknown): unknown
  close(): Promise<void>
}

/**
 * Why the database can't be written. `locked`: another process holds the lock for writing. `replaced`: the database is
 * not, or not completely, where its path leads to, so that the next start would not find what is written.
 */
export type DatabaseFault = 'locked' | 'full' | 'replaced' | 'unavailable'

export interface DatabaseIdentity {
  /** Created with the database. A cursor with another epoch is not a cursor of this log. */
  readonly epoch: Buffer
  /** 16 bytes, secret: encrypts cursors. */
  readonly cursorKey: Buffer
  /** 32 bytes, secret: derives webhook URLs. */
  readonly webhookKey: Buffer
  /** 32 bytes, secret: signs access tokens. */
  readonly tokenKey: Buffer
  /** Binds a new database to `upstream`. Returns the upstream the database belongs to, which may be another one. */
  bindUpstream(upstream: string): Promise<string>
}

/** A position in the list, between two predictions. */
export interface ListPosition {
  createdAt: number
  id: string
}

export interface PageRequest {
  /** Max predictions: from the newest end of the range, or with `backward` from its oldest. */
  limit: number
  backward: boolean
  after: ListPosition | null
  before: ListPosition | null
  filter: Filter
}

interface PredictionPage {
  /** Newest first, in both directions. */
  predictions: Prediction[]
  hasNextPage: boolean
  hasPreviousPage: boolean
}

export interface PredictionStore {
  /**
   * Creates a prediction if the app's limits allow it. They are checked in the transaction that writes. FORBIDDEN: the
   * token has already created `maxSubmits`. A repeated request returns its prediction, whatever the limits.
   */
  create(
    draft: Draft & { cost: number },
    idempotency: Idempotency | null,
    now: number,
    tokenLimits?: TokenLimits,
  ): Promise<CreateResult>
  /** The prediction that uses this idempotency key; null if the key is free. */
  findByIdempotencyKey(appId: AppId, idempotency: Idempotency, now: number): Promise<IdempotentMatch | null>
  get(scope: Scope, id: string): Promise<Prediction | null>
  /** Predictions in the order of `ids`; null for those out of the scope. */
  getMany(scope: Scope, ids: readonly string[]): Promise<(Prediction | null)[]>
  list(scope: Scope, page: PageRequest): Promise<PredictionPage>
  /** Median of submission to end over the newest 101 completed jobs of a model, ms; null without any. */
  medianDuration(model: VideoModel): Promise<number | null>
  /**
   * Durations of the newest completed jobs of a model, newest first, as intervals: polling sees the end late. Jobs
   * longer than `maxDurationMs` are left out, because they were polled too rarely.
   */
  recentDurations(model: VideoModel, limit: number, maxDurationMs: number): Promise<DurationRange[]>
  /**
   * The only writer of status. Status, error and cost change together with an event, and never without one. Returns
   * null and writes nothing if the row does not exist, the fence is not the row's, or `transition` returns null.
   * Throws on an illegal transition.
   */
  change(id: string, transition: Transition, now: number, fence?: number): Promise<Job | null>
}

/** Duration of a job: it was still running at `from` and had ended by `to`; ms since it was sent. */
export interface DurationRange {
  from: number
  to: number
}

export interface Claim {
  now: number
  /** Lease: the row becomes due again at this time if the worker dies. */
  leaseUntil: number
  limit: number
}

export interface SubmitClaim extends Claim, AllowanceRequest {
  /** Claims only rows whose image was verified after this time. */
  imageVerifiedAfter: number
  /** Models that upstream has told this process it does not offer. Their rows are skipped. */
  thisProcess?: { heldModels: Iterable<VideoModel> }
}

export interface AbandonedSubmitClaim extends Claim {
  /** Ids of the rows that this process is sending. They are not abandoned, even if it slept past their leases. */
  thisProcess?: { submittingIds: Iterable<string> }
}

export interface ImageClaim extends Claim {
  /** Images verified before this time are checked again. */
  imageVerifiedAfter: number
  /** Target number of rows that are ready to submit: image verified, never sent. */
  readyTarget: number
  /**
   * Apps whose share of this process's image checks is taken, and models that upstream has told this process it does not
   * offer. Their rows are skipped.
   */
  thisProcess?: { busyApps: Iterable<AppId>; heldModels?: Iterable<VideoModel> }
}

/** The next due time of a row whose poll had no news. */
export interface RescheduledPoll {
  id: string
  fence: number
  dueAt: number
  lastSeenRunningAt: number | null
}

/** Number of tracked rows by state. */
interface StateCounts {
  queued: number
  /** Queued rows that a hold covers. They are in `queued` too. */
  held: number
  /** `submission` is `begun`. */
  submitting: number
  /** `tracking` is `active`, whatever the status: accepted and unresolved rows. */
  inFlight: number
  /** Accepted rows whose `tracking` is `expired`. */
  expired: number
  /** Unresolved rows, `active` and `expired`. The `active` ones are in `inFlight` too. */
  unresolved: number
}

export interface QueueStore {
  /**
   * Claims waiting rows for an image check, among the first `readyTarget` in the fair order. While the
   * submit circuit is open, it claims only rows whose image was never verified.
   */
  claimImageChecks(claim: ImageClaim): Promise<Job[]>
  /**
   * Claims waiting rows for a POST and marks them `begun`, within the account's limits and if the submit circuit
   * allows it. Order: domain/fair-queue.ts, but rows that upstream refused repeatedly come last. Skips apps that have
   * `maxInFlight` active jobs. When this returns, the intent is on disk.
   */
  claimSubmits(claim: SubmitClaim): Promise<Job[]>
  /**
   * Queue position in the fair order, 1 is next; null for rows that do not wait. In the order of `ids`. It ignores that
   * `claimSubmits` takes rows last that upstream refused repeatedly.
   */
  queuePositions(appId: AppId, ids: readonly string[]): Promise<(number | null)[]>
  /** Claims accepted rows that are due for a poll, also if a client already sees the prediction as ended. */
  claimPolls(claim: Claim): Promise<Job[]>
  /** Sets the next due time of polled rows in one commit. Rows with a newer fence stay as they are. */
  reschedule(polls: readonly RescheduledPoll[]): Promise<void>
  /**
   * Claims unresolved submits (`submission` is `unknown`) that are due for a search; rows whose client still waits
   * come first.
   */
  claimUnresolvedSubmits(claim: Claim): Promise<Job[]>
  /** Ids of rows that upstream accepted before this time and that still hold a slot. */
  findOverdueIds(acceptedBefore: number, limit: number): Promise<string[]>
  /**
   * Whether another POST of the same model was started between `from` and `to` (inclusive) and is under way or
   * unresolved, also if the search for its job has ended.
   */
  hasConflictingSubmit(job: Job, from: number, to: number): Promise<boolean>
  /** Claims rows whose POST was started by a worker that did not come back. */
  claimAbandonedSubmits(claim: AbandonedSubmitClaim): Promise<Job[]>
  /** Null while the circuit is closed. */
  submitCircuit(): Promise<SubmitCircuit | null>
  /** The open circuit if a probe is due; postpones the next probe to `nextProbeAt`. */
  claimCircuitProbe(
    now: number,
    nextProbeAt: (circuit: SubmitCircuit) => number,
  ): Promise<SubmitCircuit | null>
  /** Half-opens this version of the circuit: one submit at a time. A circuit opened since stays open. */
  halfOpenCircuit(version: number): Promise<boolean>
  /** The reduced concurrency limit; null: the configured one applies. */
  concurrencyLimit(): Promise<ConcurrencyLimit | null>
  /** Id of the prediction that has this upstream id. */
  findIdByUpstreamId(upstreamId: string): Promise<string | null>
  /**
   * Call it when this process's clock was set by `leapMs`. An engine without a clock of its own shifts due times,
   * circuit times and start times of begun and unresolved submits by it. An engine that keeps times by the clock of its
   * database server does nothing.
   */
  followProcessClock(leapMs: number): Promise<void>
  countByState(): Promise<StateCounts>
}

/**
 * Holds (domain/hold.ts). `claimSubmits` and `claimImageChecks` skip the rows that a hold covers; the claim of submits
 * reads the holds in its own transaction. So no submit starts after `addHold` has returned, also in another process.
 */
export interface HoldStore {
  /** False if these jobs have a hold already, which stays as it is. */
  addHold(hold: Hold): Promise<boolean>
  /** False if there is no hold of exactly these jobs. */
  removeHold(target: HoldTarget): Promise<boolean>
  /** Holds that do not name a prediction, oldest first. */
  listHolds(): Promise<Hold[]>
}

/**
 * A database that was replaced by an earlier copy of itself (domain/restore.ts). A gateway's start notices it, before it
 * reads anything else: by a copy of the backup command, by the log's head, which is also kept outside of the database, or
 * by `isRestored`. In one commit it then gives the log a new epoch, ends all access tokens, holds all submits, and holds
 * each waiting job by itself.
 */
export interface RestoreStore {
  /** Oldest first. */
  lostTimes(): Promise<LostTime[]>
  /** Waiting jobs that a hold names, oldest first. */
  heldJobs(): Promise<HeldJob[]>
  /** Jobs whose POST was started up to this time and has no answer. */
  unansweredJobs(startedBefore: number): Promise<Job[]>
  /** The app of which upstream has an image at this URL. */
  findAppByUpstreamImage(url: string): Promise<AppId | null>
  /** Stores what the comparison found, for each lost time without a report, in one commit. Without any it does nothing. */
  storeFindings(found: {
    findings: readonly { id: string; reason: HoldReason }[]
    corrections: readonly SpendCorrection[]
    report: RestoreReport
  }): Promise<void>
  /** Revokes the keys that were created since this time, if any is given. Returns their prefixes. */
  decideKeys(revokeSince: number | null): Promise<string[]>
  /** Writes the log's head to where it is kept outside of the database. */
  keepHead(): Promise<void>
}

export interface HeldJob {
  job: Job
  reason: HoldReason
  since: number
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
  /** `events` has every event of this request up to this `seq`. */
  scannedUpTo: number
  /** Events up to this `seq` were pruned. */
  prunedUpTo: number
}

interface PruneRequest {
  /** Only events that occurred before this time are deleted. */
  occurredBefore: number
  limit: number
  /** No event after the lowest `seq` that a reader of this process has pinned is deleted; null: it has no pin. */
  thisProcess?: { lowestPinnedSeq: number | null }
}

export interface EventRange {
  head: number
  /** The position behind the newest event. */
  headPosition: LogPosition
  prunedUpTo: number
  isSameHistory: boolean
}

export interface EventStore {
  /**
   * `seq` of the newest event and of the last pruned one; 0 without any. Also whether the event at `position` is still the
   * one that it was: false if the log was rewound to an earlier copy since, and grew again. A pruned event, other than the
   * last, is taken to be it.
   */
  eventRange(position?: LogPosition): Promise<EventRange>
  /** The position behind the event `seq`. The mark of a pruned event, other than the last, is null. */
  positionOf(seq: number): Promise<LogPosition>
  eventsAfter(request: EventsRequest): Promise<EventsResult>
  /** The first `limit` events after `afterSeq` of each prediction, oldest first; in the order of `ids`. */
  histories(
    scope: Scope,
    ids: readonly string[],
    afterSeq: number,
    limit: number,
  ): Promise<PredictionEvent[][]>
  /** Events of all apps. Only for the event log, which delivers each to its own app. */
  allEventsAfter(afterSeq: number, limit: number): Promise<EventsResult>
  /** The prediction and the log's head, read in one transaction. */
  snapshot(scope: Scope, id: string): Promise<{ prediction: Prediction; head: number } | null>
  /** Deletes the oldest events of the request. Returns how many. */
  pruneEvents(request: PruneRequest): Promise<number>
}

/** Its limits are read anew for each check: they change while the gateway runs. */
export interface App {
  id: AppId
  name: string
  limits: AppLimits
}

export interface ApiKey {
  /** The visible prefix of the key. */
  prefix: string
  /** SHA-256 of the whole key, hex. */
  hash: string
  expiresAt: number | null
}

/** The parts of a key that may be shown. */
export interface ApiKeyInfo {
  prefix: string
  createdAt: number
  expiresAt: number | null
}

export interface AppUsage {
  /**
   * Jobs that an app counts as in flight: active jobs, and unresolved submits that hold no slot any more and are still
   * `QUEUED`.
   */
  inFlight: number
  queued: number
  /** Micro-USD, of predictions created in this UTC month. */
  spent: number
}

export interface AppStore {
  /** Creates an app, with its first key if given, in one commit. Null if the name is taken; nothing is written. */
  createApp(
    name: string,
    now: number,
    initial?: { limits?: Partial<AppLimits>; key?: ApiKey },
  ): Promise<App | null>
  getApp(id: AppId): Promise<App | null>
  findAppByName(name: string): Promise<App | null>
  /** Sorted by name. */
  listApps(): Promise<App[]>
  countApps(): Promise<number>
  /** Limits missing in `patch` stay. Null if the app does not exist. */
  setLimits(id: AppId, patch: Partial<AppLimits>): Promise<App | null>
  /** Oldest first. */
  listKeys(appId: AppId): Promise<ApiKeyInfo[]>
  addKey(appId: AppId, key: ApiKey, now: number): Promise<void>
  findKey(prefix: string): Promise<(ApiKey & { appId: AppId }) | null>
  /**
   * Adds the key and lets the app's other keys expire at `oldKeysExpireAt` at the latest, in one commit. Returns the
   * other keys that were still valid, with their new expiry.
   */
  rotateKeys(appId: AppId, key: ApiKey, oldKeysExpireAt: number, now: number): Promise<ApiKeyInfo[]>
  /** False if no key has this prefix. */
  revokeKey(prefix: string): Promise<boolean>
  /** Revokes all keys of an app. Returns their prefixes. */
  revokeAllKeys(appId: AppId): Promise<string[]>
  /** Deletes keys that expired before this time. Returns how many. */
  pruneKeys(expiredBefore: number): Promise<number>
  /** Usage by the predictions in the scope. */
  usage(scope: Scope, now: number): Promise<AppUsage>
}

export interface NewUpload {
  image: UploadedImage
  restrictionKey: string
  data: Buffer
}

/** Refused: the image does not fit until some uploads of the app have expired. */
export type UploadResult = { kind: 'kept'; upload: Upload } | { kind: 'refused'; retryAfterMs: number }

/** An uploaded image with its URL at upstream. */
export interface StoredImage extends UploadedImage {
  /** Set while upstream surely has the image. */
  upstreamUrl: string | null
}

export interface UploadStore {
  /**
   * Stores an image for seven days. The same bytes under the same restriction are one upload. The app's bytes are
   * counted in the transaction that reserves space. A small image counts for 64 KiB, so that there can't be millions.
   * @param maxUploadBytesPerApp max bytes an app may store
   */
  saveUpload(upload: NewUpload, maxUploadBytesPerApp: number, now: number): Promise<UploadResult>
  /** Uploads in the order of `ids`; null for those that have expired or are out of the scope. */
  getUploads(scope: Scope, ids: readonly string[], now: number): Promise<(Upload | null)[]>
  /** Also works for an expired upload until it is pruned. */
  uploadByPreviewToken(previewToken: string): Promise<Upload | null>
  /** Also works for an expired upload: a waiting job keeps its image. */
  imageByUploadId(uploadId: string, now: number): Promise<StoredImage | null>
  /** Bytes of the chunk, counted from 0; null after the last. */
  imageChunk(image: Pick<UploadedImage, 'appId' | 'hash'>, index: number): Promise<Buffer | null>
  /** Records that upstream has the image at `url` until `expiresAt`. */
  setUpstreamUrl(image: Pick<UploadedImage, 'appId' | 'hash'>, url: string, expiresAt: number): Promise<void>
  /**
   * Prunes one small step: expired uploads without an unfinished job, or bytes without an upload. False: nothing was
   * left.
   */
  pruneUploads(now: number): Promise<boolean>
}
