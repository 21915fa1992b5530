/**
 * A database as a week of work would leave it: everything has ended, most of it well, four events each, of several apps.
 * Written past the store, and with `synchronous` off: row by row it would take minutes of commits.
 */
import { randomInt } from 'node:crypto'
import { v7 as uuidv7 } from 'uuid'
import type { Standing } from '../../../src/domain/prediction.ts'
import { openDatabase } from '../../../src/store/sqlite/connection.ts'
import { sql } from '../../../src/store/sqlite/drizzle.ts'
import { toStanding } from '../../../src/store/sqlite/row-mapping.ts'
import { events, predictions } from '../../../src/store/sqlite/schema.ts'
import { openSqlite } from '../../../src/store/sqlite/sqlite-store.ts'

/** Of each prediction. */
export const EVENTS = 4
const APPS = 10
/** Less than what events are kept for. */
const AGE_MS = 6 * 24 * 60 * 60 * 1000
const TAKES_MS = 150_000
/** One of so many fails. */
const FAILING = 30
/** A statement has 32,766 parameters at most. */
const CHUNK = 500

/** @param upstream whom the database belongs to */
export async function seed(file: string, upstream: string, rows: number): Promise<void> {
  const store = openSqlite(file, () => {})
  await store.bindUpstream(upstream)
  const apps: string[] = []
  for (let i = 0; i < APPS; i++) apps.push((await store.createApp(`app-${i}`, Date.now()))!.id)
  await store.close()

  const { db, close } = openDatabase(file, { alone: false })
  db.run(sql`pragma synchronous = off`)
  const begin = Date.now() - AGE_MS
  db.transaction(tx => {
    for (let i = 0; i < rows; i += CHUNK) {
      const some = Array.from({ length: Math.min(CHUNK, rows - i) }, (_, j) =>
        rowOf(apps[randomInt(APPS)]!, begin + Math.floor(((i + j) / rows) * (AGE_MS - 2 * TAKES_MS)), i + j),
      )
      tx.insert(predictions).values(some).run()
      tx.insert(events)
        .values(some.flatMap(row => eventsOf(row)))
        .run()
    }
    tx.run(sql`insert into tagged select app_id, value, created_at, predictions.id
      from predictions, json_each(tags)`)
  })
  close()
}

type Row = ReturnType<typeof rowOf>

function rowOf(appId: string, createdAt: number, number: number) {
  const fails = number % FAILING === 0
  const finishedAt = createdAt + TAKES_MS - randomInt(TAKES_MS / 2)
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
    following: null,
    fence: 2,
    attempts: 1,
    dueAt: finishedAt,
    imageSeenAt: createdAt + 1000,
    begunAt: createdAt + 1500,
    runningAt: createdAt + 5000,
  }
}

function eventsOf(row: Row) {
  const told = (
    previousStatus: Standing['status'] | null,
    status: Standing['status'],
    occurredAt: number,
  ): typeof events.$inferInsert => ({
    appId: row.appId,
    predictionId: row.id,
    type: previousStatus === null ? 'QUEUED' : 'STATUS_CHANGED',
    previousStatus,
    occurredAt,
    standing: { ...toStanding(row), status },
  })
  return [
    told(null, 'QUEUED', row.createdAt),
    told('QUEUED', 'CREATED', row.submittedAt),
    told('CREATED', 'PROCESSING', row.startedAt),
    told('PROCESSING', row.status, row.finishedAt),
  ]
}
