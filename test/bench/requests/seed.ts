/**
 * A database as the gateway itself would have left it: an app whose predictions have all ended, a second apart. Nothing in it
 * is left to do, so that a server works for requests alone.
 */

import { v7 as uuidv7 } from 'uuid'
import { openDatabase } from '../../../src/store/sqlite/connection.ts'
import { sql } from '../../../src/store/sqlite/drizzle.ts'
import { predictions } from '../../../src/store/sqlite/schema.ts'
import { openSqlite } from '../../../src/store/sqlite/sqlite-store.ts'
import type { Place } from '../../../src/store/store.ts'
import { APP } from './contender.ts'

const SECOND = 1000
const TOOK_MS = 150_000

/** Newest first. */
export async function seed(file: string, rows: number): Promise<Place[]> {
  const store = openSqlite(file, () => {})
  const { id: appId } = (await store.createApp(APP, Date.now()))!
  await store.close()

  const { db, close } = openDatabase(file, { alone: false })
  const given = sql.placeholder
  const insert = db
    .insert(predictions)
    .values({
      appId,
      model: 'WAN_2_2_I2V_PLUS_1080P',
      imageUrl: 'https://images.example/harbour.png',
      duration: 5,
      enablePromptExpansion: false,
      seed: -1,
      tags: ['bench', 'harbour'],
      status: 'COMPLETED',
      cost: 800_000,
      submission: 'accepted',
      fence: 2,
      attempts: 1,
      inferenceMs: TOOK_MS,
      id: given('id'),
      prompt: given('prompt'),
      createdAt: given('createdAt'),
      submittedAt: given('createdAt'),
      startedAt: given('createdAt'),
      begunAt: given('createdAt'),
      imageSeenAt: given('createdAt'),
      outputs: given('outputs'),
      upstreamId: given('upstreamId'),
      finishedAt: given('finishedAt'),
      updatedAt: given('finishedAt'),
      dueAt: given('finishedAt'),
    })
    .prepare()
  const newest = Date.now() - TOOK_MS
  const places: Place[] = []
  db.transaction(() => {
    for (let i = 0; i < rows; i++) {
      const createdAt = newest - i * SECOND
      const id = uuidv7({ msecs: createdAt })
      insert.run({
        id,
        prompt: `a slow pan over the harbour, ${i}`,
        createdAt,
        upstreamId: `seed-${id}`,
        outputs: [
          { url: `https://videos.example/${id}.mp4`, hasNsfwContent: false, expiresAt: createdAt + TOOK_MS },
        ],
        finishedAt: createdAt + TOOK_MS,
      })
      places.push({ id, createdAt })
    }
    db.run(sql`insert into tagged select app_id, value, created_at, predictions.id
      from predictions, json_each(tags)`)
  })
  close()
  return places
}
