/**
 * A row as it lies in the table ↔ the noun.
 */
import type { AppId, Job, Prediction, Standing } from '../../prediction.ts'
import type { predictions } from './tables.ts'

export type Row = typeof predictions.$inferSelect

/** The prediction in a row, or as `standing` says it stood at some event. */
export const toPrediction = (row: Row, standing: Standing = row): Prediction => ({
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
