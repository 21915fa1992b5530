/**
 * Maps table rows to predictions and jobs.
 */
import {
  type AppId,
  type Job,
  type Prediction,
  type PredictionState,
  toPredictionState,
} from '../../domain/prediction.ts'
import { type Column, getTableColumns, type SQL, sql } from './drizzle.ts'
import { predictions } from './schema.ts'

export type PredictionRow = typeof predictions.$inferSelect

const {
  idempotencyKey,
  fingerprint,
  submission,
  tracking,
  fence,
  submitAttempts,
  dueAt,
  imageVerifiedAt,
  imageCheckFailures,
  upstreamImageUrl,
  submitStartedAt,
  lastSeenRunningAt,
  completedWithoutOutputSince,
  ...publicColumns
} = getTableColumns(predictions)

/** The columns that a `Prediction` needs: half of the row. */
export type PublicRow = Pick<PredictionRow, keyof typeof publicColumns>

/** A row as better-sqlite3 returns it: JSON is text, a boolean is a number. */
export type SqliteRow<Decoded extends PublicRow = PublicRow> = Omit<
  Decoded,
  'tags' | 'metadata' | 'outputs' | 'enablePromptExpansion'
> & { tags: string; metadata: string | null; outputs: string; enablePromptExpansion: number }

const selectList = (columns: Record<string, Column>): SQL =>
  sql.join(
    Object.entries(columns).map(([name, column]) => sql`${column} as ${sql.identifier(name)}`),
    sql`, `,
  )

export const PUBLIC_COLUMNS = selectList(publicColumns)
export const ALL_COLUMNS = selectList(getTableColumns(predictions))

export const decodeJsonColumns = <Decoded extends PublicRow>(raw: SqliteRow<Decoded>): Decoded =>
  Object.assign(raw, {
    tags: JSON.parse(raw.tags),
    metadata: raw.metadata === null ? null : JSON.parse(raw.metadata),
    outputs: JSON.parse(raw.outputs),
    enablePromptExpansion: raw.enablePromptExpansion === 1,
  }) as unknown as Decoded

/** The prediction of a row, in its present state. */
export const toPrediction = (row: PublicRow): Prediction => toPredictionIn(row, toPredictionState(row))

/** The prediction of a row, in the state of an event. */
export const toPredictionIn = (row: PublicRow, state: PredictionState): Prediction => ({
  id: row.id,
  appId: row.appId as AppId,
  model: row.model,
  input: {
    imageUrl: row.imageUrl,
    prompt: row.prompt,
    negativePrompt: row.negativePrompt,
    duration: row.duration,
    enablePromptExpansion: row.enablePromptExpansion,
    seed: row.seed,
  },
  tags: row.tags,
  metadata: row.metadata,
  retryOf: row.retryOf,
  uploadId: row.uploadId,
  restrictionKey: row.restrictionKey,
  tokenId: row.tokenId,
  createdAt: row.createdAt,
  ...state,
})

export const toJob = (row: PredictionRow): Job => ({
  ...toPrediction(row),
  submission: row.submission,
  tracking: row.tracking,
  fence: row.fence,
  submitAttempts: row.submitAttempts,
  dueAt: row.dueAt,
  imageVerifiedAt: row.imageVerifiedAt,
  imageCheckFailures: row.imageCheckFailures,
  upstreamImageUrl: row.upstreamImageUrl,
  submitStartedAt: row.submitStartedAt,
  lastSeenRunningAt: row.lastSeenRunningAt,
  completedWithoutOutputSince: row.completedWithoutOutputSince,
})
