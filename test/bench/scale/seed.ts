/**
 * Rows as the gateway itself would have left them, of jobs that were sent in the last minutes: in flight, or ended. Both
 * sizes have as many rows and events, so only the number in flight differs. To send 10,000 would take minutes of commits.
 */
import { randomInt } from 'node:crypto'
import { v7 as uuidv7 } from 'uuid'
import type { Draft, Standing } from '../../../src/domain/prediction.ts'
import { openDatabase } from '../../../src/store/sqlite/connection.ts'
import { events, posts, predictions } from '../../../src/store/sqlite/schema.ts'

/** What a job takes; as many a minute were sent. */
const AGE_MS = 150_000
/** A statement has 32,766 parameters at most. */
const CHUNK = 500

/** @param lookMs their looks come evenly in it */
export function seed(
  file: string,
  draft: Draft & { cost: number },
  rows: number,
  inFlight: number,
  lookMs: number,
): void {
  const now = Date.now()
  const { db, close } = openDatabase(file, { alone: false })
  db.transaction(tx => {
    for (let i = 0; i < rows; i += CHUNK) {
      const some = Array.from({ length: Math.min(CHUNK, rows - i) }, (_, j) =>
        rowOf(draft, i + j < inFlight, now, lookMs),
      )
      tx.insert(predictions).values(some).run()
      tx.insert(events)
        .values(some.flatMap(row => eventsOf(row)))
        .run()
      const sent = some.filter(({ following }) => following !== null)
      if (sent.length > 0)
        tx.insert(posts)
          .values(sent.map(({ id, begunAt }) => ({ predictionId: id, attempt: 1, begunAt })))
          .run()
    }
  })
  close()
}

type Row = ReturnType<typeof rowOf>

function rowOf(
  { input, ...draft }: Draft & { cost: number },
  isInFlight: boolean,
  now: number,
  lookMs: number,
) {
  const sentAt = now - randomInt(AGE_MS)
  const id = uuidv7()
  return {
    ...draft,
    ...input,
    id,
    createdAt: sentAt - 1000,
    begunAt: sentAt,
    submittedAt: sentAt,
    upstreamId: `seed-${id}`,
    attempts: 1,
    fence: 2,
    imageSeenAt: sentAt - 500,
    submission: 'accepted' as const,
    outputs: [],
    startedAt: null,
    inferenceMs: null,
    dueAt: now + randomInt(lookMs),
    ...(isInFlight
      ? ({
          status: 'CREATED',
          following: 'closely',
          error: null,
          finishedAt: null,
          updatedAt: sentAt,
        } as const)
      : ({
          status: 'FAILED',
          following: null,
          error: 'GENERATION_FAILED',
          finishedAt: now,
          updatedAt: now,
        } as const)),
  }
}

function eventsOf(row: Row) {
  const standing: Standing = { ...row }
  const {
    status,
    outputs,
    error,
    cost,
    upstreamId,
    submittedAt,
    startedAt,
    finishedAt,
    updatedAt,
    inferenceMs,
  } = standing
  const said = {
    status,
    outputs,
    error,
    cost,
    upstreamId,
    submittedAt,
    startedAt,
    finishedAt,
    updatedAt,
    inferenceMs,
  }
  const common = { appId: row.appId, predictionId: row.id, standing: said }
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
