/**
 * Rows as the gateway itself would have left them, of jobs that were sent in the last minutes: in flight, or ended.
 * Both sizes have as many rows and events, so that only the number in flight differs. Submitting 10,000 jobs would
 * take minutes of commits.
 */
import { randomInt } from 'node:crypto'
import { v7 as uuidv7 } from 'uuid'
import { type Draft, toPredictionState } from '../../../src/domain/prediction.ts'
import { openDatabase } from '../../../src/store/sqlite/connection.ts'
import { events, predictions, submitAttempts } from '../../../src/store/sqlite/schema.ts'

/** Duration of a job. The jobs were sent evenly over this time. */
const JOB_DURATION_MS = 150_000
/** A statement has at most 32,766 parameters. */
const CHUNK_ROWS = 500

/** @param pollIntervalMs the polls of the jobs are spread evenly over it */
export function seed(
  file: string,
  draft: Draft & { cost: number },
  rows: number,
  inFlight: number,
  pollIntervalMs: number,
): void {
  const now = Date.now()
  const { db, close } = openDatabase(file, { exclusive: false })
  db.transaction(tx => {
    for (let i = 0; i < rows; i += CHUNK_ROWS) {
      const chunk = Array.from({ length: Math.min(CHUNK_ROWS, rows - i) }, (_, j) =>
        createRow(draft, i + j < inFlight, now, pollIntervalMs),
      )
      tx.insert(predictions).values(chunk).run()
      tx.insert(events)
        .values(chunk.flatMap(row => createEvents(row)))
        .run()
      const sent = chunk.filter(({ tracking }) => tracking !== null)
      if (sent.length > 0)
        tx.insert(submitAttempts)
          .values(
            sent.map(({ id, submitStartedAt }) => ({
              predictionId: id,
              attempt: 1,
              submitStartedAt,
            })),
          )
          .run()
    }
  })
  close()
}

type Row = ReturnType<typeof createRow>

function createRow(
  { input, ...draft }: Draft & { cost: number },
  isInFlight: boolean,
  now: number,
  pollIntervalMs: number,
) {
  const sentAt = now - randomInt(JOB_DURATION_MS)
  const id = uuidv7()
  return {
    ...draft,
    ...input,
    id,
    createdAt: sentAt - 1000,
    version: 2,
    submitStartedAt: sentAt,
    submittedAt: sentAt,
    upstreamId: `seed-${id}`,
    submitAttempts: 1,
    fence: 2,
    imageVerifiedAt: sentAt - 500,
    submission: 'accepted' as const,
    outputs: [],
    startedAt: null,
    inferenceMs: null,
    dueAt: now + randomInt(pollIntervalMs),
    ...(isInFlight
      ? ({
          status: 'CREATED',
          tracking: 'active',
          error: null,
          finishedAt: null,
          updatedAt: sentAt,
        } as const)
      : ({
          status: 'FAILED',
          tracking: null,
          error: 'GENERATION_FAILED',
          finishedAt: now,
          updatedAt: now,
        } as const)),
  }
}

function createEvents(row: Row) {
  const common = { appId: row.appId, predictionId: row.id, state: toPredictionState(row) }
  return [
    { ...common, type: 'QUEUED' as const, previousStatus: null, occurredAt: row.createdAt },
    {
      ...common,
      type: 'STATUS_CHANGED' as const,
      previousStatus: 'QUEUED' as const,
      occurredAt: row.updatedAt,
    },
  ]
}
