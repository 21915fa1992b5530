/**
 * The tables. `npm run migrations` writes changes of this file into migrations/; a test keeps the two equal.
 * Times are milliseconds since 1970, money is micro-USD.
 */
import { PREDICTION_ERROR_CODES } from '../../domain/errors.ts'
import { HOLD_REASONS } from '../../domain/hold.ts'
import { IMAGE_TYPES } from '../../domain/image-format.ts'
import { VIDEO_MODELS } from '../../domain/models.ts'
import {
  EVENT_TYPES,
  type Output,
  type PredictionState,
  STATUSES,
  SUBMISSIONS,
  TRACKINGS,
} from '../../domain/prediction.ts'
import { CIRCUIT_REASONS } from '../../domain/submit-circuit.ts'
import { blob, index, integer, primaryKey, real, sqliteTable, text, uniqueIndex } from './drizzle.ts'
import {
  COMPLETED,
  HAS_LEFT_QUEUE,
  HAS_RESTRICTION,
  HAS_TOKEN,
  HAS_UPLOAD,
  IN_FLIGHT,
  INCOMPLETE,
  IS_IMAGE_RETRY,
  SUBMIT_STARTED,
  TRACKED,
  UNANSWERED,
  UNRESOLVED,
  WAITING,
} from './predicates.ts'

/** Facts about the database: its epoch, its secret keys, the upstream it belongs to. */
export const meta = sqliteTable('meta', {
  name: text().primaryKey(),
  value: text().notNull(),
})

export const apps = sqliteTable('apps', {
  id: text().primaryKey(),
  name: text().notNull().unique(),
  maxInFlight: integer(),
  maxQueued: integer(),
  submitsPerMinute: integer(),
  monthlyBudget: integer(),
  weight: integer().notNull().default(1),
  createdAt: integer().notNull(),
  /**
   * Virtual time of fair queueing: ms its jobs held slots, divided by its weight. The app with the lowest is next.
   * Maintained by queue/fair-order.ts.
   */
  virtualTime: real().notNull().default(0),
  /** When its queue last became non-empty. */
  backlogStartedAt: integer().notNull().default(0),
  /** No job of the present backlog has held and released a slot. */
  isNewlyActive: integer({ mode: 'boolean' }).notNull().default(false),
})

/** API keys: the visible prefix finds the row, the hash of the whole key decides. */
export const apiKeys = sqliteTable(
  'api_keys',
  {
    prefix: text().primaryKey(),
    appId: text()
      .notNull()
      .references(() => apps.id),
    hash: text().notNull(),
    createdAt: integer().notNull(),
    expiresAt: integer(),
  },
  table => [index('api_keys_by_app').on(table.appId)],
)

export const predictions = sqliteTable(
  'predictions',
  {
    id: text().primaryKey(),
    appId: text()
      .notNull()
      .references(() => apps.id),
    model: text({ enum: VIDEO_MODELS }).notNull(),
    imageUrl: text().notNull(),
    uploadId: text(),
    prompt: text().notNull(),
    negativePrompt: text(),
    duration: integer().notNull(),
    enablePromptExpansion: integer({ mode: 'boolean' }).notNull(),
    seed: integer().notNull(),
    tags: text({ mode: 'json' }).$type<string[]>().notNull(),
    metadata: text({ mode: 'json' }).$type<unknown>(),
    retryOf: text(),
    restrictionKey: text().notNull().default(''),
    tokenId: text(),
    idempotencyKey: text(),
    fingerprint: text(),
    createdAt: integer().notNull(),

    version: integer().notNull().default(1),
    status: text({ enum: STATUSES }).notNull(),
    outputs: text({ mode: 'json' }).$type<Output[]>().notNull(),
    error: text({ enum: PREDICTION_ERROR_CODES }),
    cost: integer().notNull(),
    upstreamId: text(),
    submittedAt: integer(),
    startedAt: integer(),
    finishedAt: integer(),
    updatedAt: integer().notNull(),
    inferenceMs: integer(),

    submission: text({ enum: SUBMISSIONS }).notNull().default('none'),
    tracking: text({ enum: TRACKINGS }),
    fence: integer().notNull().default(0),
    submitAttempts: integer().notNull().default(0),
    dueAt: integer().notNull(),
    imageVerifiedAt: integer(),
    imageCheckFailures: integer().notNull().default(0),
    upstreamImageUrl: text(),
    submitStartedAt: integer(),
    lastSeenRunningAt: integer(),
    completedWithoutOutputSince: integer(),
  },
  table => [
    uniqueIndex('predictions_by_idempotency_key').on(table.appId, table.restrictionKey, table.idempotencyKey),
    uniqueIndex('predictions_by_upstream_id').on(table.upstreamId),
    index('predictions_by_app').on(table.appId, table.createdAt, table.id),
    index('predictions_by_status').on(table.appId, table.status, table.createdAt, table.id),
    index('predictions_by_restriction')
      .on(table.appId, table.restrictionKey, table.createdAt, table.id)
      .where(HAS_RESTRICTION),
    index('predictions_by_token').on(table.tokenId).where(HAS_TOKEN),
    index('predictions_by_upload').on(table.uploadId).where(HAS_UPLOAD),
    index('predictions_waiting').on(table.appId, IS_IMAGE_RETRY, table.createdAt, table.id).where(WAITING),
    index('predictions_submit_started').on(table.dueAt).where(SUBMIT_STARTED),
    index('predictions_image_verified').on(table.imageVerifiedAt).where(WAITING),
    index('predictions_in_flight').on(table.appId).where(IN_FLIGHT),
    index('predictions_overdue').on(table.submittedAt).where(IN_FLIGHT),
    index('predictions_tracked').on(table.dueAt).where(TRACKED),
    index('predictions_unresolved').on(HAS_LEFT_QUEUE, table.dueAt).where(UNRESOLVED),
    index('predictions_unanswered').on(table.model, table.submitStartedAt).where(UNANSWERED),
    index('predictions_finished').on(table.model, table.finishedAt).where(COMPLETED),
  ],
)

/**
 * Holds one row for each tag of a prediction, in list order: searching tags in `predictions` would read all rows of
 * the app. The migration adds WITHOUT ROWID, which Drizzle can't express; with a rowid each row would be stored
 * twice.
 */
export const predictionTags = sqliteTable(
  'prediction_tags',
  {
    appId: text().notNull(),
    tag: text().notNull(),
    createdAt: integer().notNull(),
    predictionId: text().notNull(),
  },
  table => [primaryKey({ columns: [table.appId, table.tag, table.createdAt, table.predictionId] })],
)

/** Cost of an app's predictions by UTC month, updated as costs change: a sum over its rows would take ever longer. */
export const appMonthlySpend = sqliteTable(
  'app_monthly_spend',
  {
    appId: text()
      .notNull()
      .references(() => apps.id),
    /** First moment of the month. */
    month: integer().notNull(),
    spent: integer().notNull(),
  },
  table => [primaryKey({ columns: [table.appId, table.month] })],
)

/** Every POST of the last hour, to enforce the account's submits per minute. */
export const submitAttempts = sqliteTable(
  'submit_attempts',
  {
    predictionId: text().notNull(),
    attempt: integer().notNull(),
    submitStartedAt: integer().notNull(),
  },
  table => [
    primaryKey({ columns: [table.predictionId, table.attempt] }),
    index('submit_attempts_by_time').on(table.submitStartedAt),
  ],
)

/** Events in commit order. AUTOINCREMENT: without it a full prune would restart `seq` at 1. */
export const events = sqliteTable(
  'events',
  {
    seq: integer().primaryKey({ autoIncrement: true }),
    appId: text().notNull(),
    predictionId: text()
      .notNull()
      .references(() => predictions.id),
    type: text({ enum: EVENT_TYPES }).notNull(),
    previousStatus: text({ enum: STATUSES }),
    occurredAt: integer().notNull(),
    /** The mutable state of the prediction right after the event; the rest is read from its row. */
    state: text({ mode: 'json' }).$type<PredictionState>().notNull(),
    /** Random, to tell the event from another that has its `seq` in another history. Null before migration 0010. */
    mark: integer(),
  },
  table => [
    index('events_by_app').on(table.appId, table.seq),
    index('events_by_prediction').on(table.predictionId, table.seq),
  ],
)

/** The submit circuit while it is open or half-open: at most one row. `version` identifies the outage. */
export const submitCircuit = sqliteTable('submit_circuit', {
  version: integer().primaryKey({ autoIncrement: true }),
  reason: text({ enum: CIRCUIT_REASONS }).notNull(),
  since: integer().notNull(),
  until: integer().notNull(),
  halfOpen: integer({ mode: 'boolean' }).notNull(),
  probePredictionId: text(),
  failures: integer().notNull(),
})

/**
 * Holds: the waiting jobs that are not submitted. An empty `app_id`, `model` or `prediction_id` means all of them: a null
 * would not be unique.
 */
export const holds = sqliteTable(
  'holds',
  {
    predictionId: text().notNull().default(''),
    appId: text().notNull().default(''),
    model: text().notNull().default(''),
    reason: text({ enum: HOLD_REASONS }).notNull(),
    why: text(),
    since: integer().notNull(),
  },
  table => [primaryKey({ columns: [table.predictionId, table.appId, table.model] })],
)

/** The reduced concurrency limit: at most one row. */
export const concurrencyLimit = sqliteTable('concurrency_limit', {
  singleton: integer().primaryKey(),
  concurrency: integer().notNull(),
  ceiling: integer().notNull(),
  accepted: integer().notNull(),
  since: integer().notNull(),
})

/** Uploads: one for each restriction under which an image was uploaded. */
export const uploads = sqliteTable(
  'uploads',
  {
    id: text().primaryKey(),
    appId: text()
      .notNull()
      .references(() => apps.id),
    restrictionKey: text().notNull(),
    /** Hash of its image, see `images`. */
    hash: text().notNull(),
    /** The secret part of the preview URL. */
    previewToken: text().notNull().unique('uploads_by_preview_token'),
    createdAt: integer().notNull(),
    expiresAt: integer().notNull(),
  },
  table => [
    uniqueIndex('uploads_by_restriction').on(table.appId, table.restrictionKey, table.hash),
    index('uploads_by_image').on(table.appId, table.hash),
    index('uploads_by_expiry').on(table.expiresAt),
  ],
)

/** Uploaded images: one row for each app and content. */
export const images = sqliteTable(
  'images',
  {
    appId: text()
      .notNull()
      .references(() => apps.id),
    /** SHA-256, hex. */
    hash: text().notNull(),
    contentType: text({ enum: IMAGE_TYPES }).notNull(),
    width: integer().notNull(),
    height: integer().notNull(),
    bytes: integer().notNull(),
    isComplete: integer({ mode: 'boolean' }).notNull(),
    writeStartedAt: integer().notNull(),
    /** When its last upload was deleted. Its bytes are being deleted since. */
    deleteRequestedAt: integer(),
    /** URL at upstream, and the time until which upstream surely has the image. */
    upstreamUrl: text(),
    upstreamUrlExpiresAt: integer(),
  },
  table => [
    primaryKey({ columns: [table.appId, table.hash] }),
    index('images_incomplete').on(table.deleteRequestedAt, table.writeStartedAt).where(INCOMPLETE),
  ],
)

/** Image bytes in chunks: one row of 25 MB would be read whole for any byte, and deleted in one go. */
export const imageChunks = sqliteTable(
  'image_chunks',
  {
    appId: text().notNull(),
    hash: text().notNull(),
    chunkIndex: integer().notNull(),
    data: blob({ mode: 'buffer' }).notNull(),
  },
  table => [primaryKey({ columns: [table.appId, table.hash, table.chunkIndex] })],
)
