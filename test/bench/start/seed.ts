/**
 * A database as a week of work would leave it: all predictions of several apps have ended, mostly well, with four
 * events each.
 * It is written past the store and with `synchronous` off, since row by row it would take minutes of commits.
 */
import { randomInt } from 'node:crypto'
import { v7 as uuidv7 } from 'uuid'
import { type PredictionState, toPredictionState } from '../../../src/domain/prediction.ts'
import { openStore } from '../../../src/store/open-store.ts'
import { openDatabase } from '../../../src/store/sqlite/connection.ts'
import { sql } from '../../../src/store/sqlite/drizzle.ts'
import { events, predictions } from '../../../src/store/sqlite/schema.ts'

/** Events of each prediction. */
export const EVENTS_PER_PREDICTION = 4
const APPS = 10
/** Less than the time for which events are kept. */
const AGE_MS = 6 * 24 * 60 * 60 * 1000
const MAX_JOB_DURATION_MS = 150_000
/** Every 30th job fails. */
const FAILS_EVERY = 30
/** A statement has at most 32,766 parameters. */
const CHUNK_ROWS = 500

/** @param upstream the upstream that the database belongs to */
export async function seed(file: string, upstream: string, rows: number): Promise<void> {
  const store = await openStore(`file:${file}`, () => {})
  await store.bindUpstream(upstream)
  const apps: string[] = []
  for (let i = 0; i < APPS; i++) apps.push((await store.createApp(`app-${i}`, Date.now()))!.id)
  await store.close()

  const { db, close } = openDatabase(file, { exclusive: false })
  db.run(sql`pragma synchronous = off`)
  const begin = Date.now() - AGE_MS
  db.transaction(tx => {
    for (let i = 0; i < rows; i += CHUNK_ROWS) {
      const chunk = Array.from({ length: Math.min(CHUNK_ROWS, rows - i) }, (_, j) =>
        createRow(
          apps[randomInt(APPS)]!,
          begin + Math.floor(((i + j) / rows) * (AGE_MS - 2 * MAX_JOB_DURATION_MS)),
          i + j,
        ),
      )
      tx.insert(predictions).values(chunk).run()
      tx.insert(events)
        .values(chunk.flatMap(row => createEvents(row)))
        .run()
    }
    tx.run(sql`insert into prediction_tags select app_id, value, created_at, predictions.id
      from predictions, json_each(tags)`)
  })
  close()
}

type Row = ReturnType<typeof createRow>

function createRow(appId: string, createdAt: number, number: number) {
  const fails = number % FAILS_EVERY === 0
  const finishedAt = createdAt + MAX_JOB_DURATION_MS - randomInt(MAX_JOB_DURATION_MS / 2)
  const upstreamId = number.toString(16).padStart(32, '0')
  return {
    id: uuidv7({ msecs: createdAt }),
    appId,
    model: 'WAN_2_2_I2V_PLUS_1080P' as const,
    imageUrl: `https://images.example/harbour/${number}.jpg`,
    prompt: `A slow pan over the harbour at dawn, gulls over the water, take ${number}`,
    duration: 5,
    enablePromptExpansion: false,
    seed: -1,
    tags: [`batch-${number % 100}`],
    createdAt,
    version: 4,
    status: fails ? ('FAILED' as const) : ('COMPLETED' as const),
    outputs: fails
      ? []
      : [
          {
            url: `https://cdn.example/${upstreamId}/output.mp4`,
            hasNsfwContent: false,
            expiresAt: finishedAt + AGE_MS,
          },
        ],
    error: fails ? ('GENERATION_FAILED' as const) : null,
    cost: fails ? 0 : 800_000,
    upstreamId,
    submittedAt: createdAt + 2000,
    startedAt: createdAt + 5000,
    finishedAt,
    updatedAt: finishedAt,
    inferenceMs: finishedAt - createdAt - 5000,
    submission: 'accepted' as const,
    tracking: null,
    fence: 2,
    submitAttempts: 1,
    dueAt: finishedAt,
    imageVerifiedAt: createdAt + 1000,
    submitStartedAt: createdAt + 1500,
    lastSeenRunningAt: createdAt + 5000,
  }
}

function createEvents(row: Row) {
  const createEvent = (
    version: number,
    previousStatus: PredictionState['status'] | null,
    status: PredictionState['status'],
    occurredAt: number,
  ): typeof events.$inferInsert => ({
    appId: row.appId,
    predictionId: row.id,
    type: previousStatus === null ? 'QUEUED' : 'STATUS_CHANGED',
    previousStatus,
    occurredAt,
    state: { ...toPredictionState(row), version, status },
  })
  return [
    createEvent(1, null, 'QUEUED', row.createdAt),
    createEvent(2, 'QUEUED', 'CREATED', row.submittedAt),
    createEvent(3, 'CREATED', 'PROCESSING', row.startedAt),
    createEvent(4, 'PROCESSING', row.status, row.finishedAt),
  ]
}
