/**
 * A row as it lies in the table ↔ the noun.
 */
import type { AppId, Job, Prediction, Standing } from '../../domain/prediction.ts'
import { type Column, getTableColumns, type SQL, sql } from './drizzle.ts'
import { predictions } from './schema.ts'

export type Row = typeof predictions.$inferSelect

const {
  idempotencyKey,
  fingerprint,
  submission,
  following,
  fence,
  attempts,
  dueAt,
  imageSeenAt,
  imageTries,
  handedUrl,
  begunAt,
  runningAt,
  emptySince,
  ...said
} = getTableColumns(predictions)

/** What a prediction is read from: half of a row's columns. */
export type Said = Pick<Row, keyof typeof said>

/** As bare SQLite hands it out: JSON is text, and a truth is a number. */
export type Raw<Of extends Said = Said> = Omit<
  Of,
  'tags' | 'metadata' | 'outputs' | 'enablePromptExpansion'
> & { tags: string; metadata: string | null; outputs: string; enablePromptExpansion: number }

const named = (columns: Record<string, Column>): SQL =>
  sql.join(
    Object.entries(columns).map(([name, column]) => sql`${column} as ${sql.identifier(name)}`),
    sql`, `,
  )

export const SAID = named(said)
export const WHOLE = named(getTableColumns(predictions))

export const decoded = <Of extends Said>(raw: Raw<Of>): Of =>
  Object.assign(raw, {
    tags: JSON.parse(raw.tags),
    metadata: raw.metadata === null ? null : JSON.parse(raw.metadata),
    outputs: JSON.parse(raw.outputs),
    enablePromptExpansion: raw.enablePromptExpansion === 1,
  }) as unknown as Of

/** The prediction in a row, or as `standing` says it stood at some event. */
export const toPrediction = (row: Said, standing: Standing = row): Prediction => ({
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
  space: row.space,
  token: row.token,
  createdAt: row.createdAt,
  ...toStanding(standing),
})

export const toStanding = (from: Standing): Standing => ({
  status: from.status,
  outputs: from.outputs,
  error: from.error,
  cost: from.cost,
  upstreamId: from.upstreamId,
  submittedAt: from.submittedAt,
  startedAt: from.startedAt,
  finishedAt: from.finishedAt,
  updatedAt: from.updatedAt,
  inferenceMs: from.inferenceMs,
})

export const toJob = (row: Row): Job => ({
  ...toPrediction(row),
  submission: row.submission,
  following: row.following,
  fence: row.fence,
  attempts: row.attempts,
  dueAt: row.dueAt,
  imageSeenAt: row.imageSeenAt,
  imageTries: row.imageTries,
  handedUrl: row.handedUrl,
  begunAt: row.begunAt,
  runningAt: row.runningAt,
  emptySince: row.emptySince,
})
