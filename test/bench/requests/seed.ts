/**
 * A database as the gateway itself would have left it: an app whose predictions have all ended, a second apart. No
 * work is left in it, so that a server works for requests alone.
 */

import { v7 as uuidv7 } from 'uuid'
import { openStore } from '../../../src/store/open-store.ts'
import { openDatabase } from '../../../src/store/sqlite/connection.ts'
import { sql } from '../../../src/store/sqlite/drizzle.ts'
import { predictions } from '../../../src/store/sqlite/schema.ts'
import type { ListPosition } from '../../../src/store/store.ts'
import { APP } from './bench-server.ts'

const SECOND = 1000
const JOB_DURATION_MS = 150_000

/** Returns the list positions, newest first. */
export async function seed(file: string, rows: number): Promise<ListPosition[]> {
  const store = await openStore(`file:${file}`, () => {})
  const { id: appId } = (await store.createApp(APP, Date.now()))!
  await store.close()

  const { db, close } = openDatabase(file, { exclusive: false })
  const placeholder = sql.placeholder
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
      submitAttempts: 1,
      inferenceMs: JOB_DURATION_MS,
      id: placeholder('id'),
      prompt: placeholder('prompt'),
      createdAt: placeholder('createdAt'),
      submittedAt: placeholder('createdAt'),
      startedAt: placeholder('createdAt'),
      submitStartedAt: placeholder('createdAt'),
      imageVerifiedAt: placeholder('createdAt'),
      outputs: placeholder('outputs'),
      upstreamId: placeholder('upstreamId'),
      finishedAt: placeholder('finishedAt'),
      updatedAt: placeholder('finishedAt'),
      dueAt: placeholder('finishedAt'),
    })
    .prepare()
  const newest = Date.now() - JOB_DURATION_MS
  const positions: ListPosition[] = []
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
          {
            url: `https://videos.example/${id}.mp4`,
            hasNsfwContent: false,
            expiresAt: createdAt + JOB_DURATION_MS,
          },
        ],
        finishedAt: createdAt + JOB_DURATION_MS,
      })
      positions.push({ id, createdAt })
    }
    db.run(sql`insert into prediction_tags select app_id, value, created_at, predictions.id
      from predictions, json_each(tags)`)
  })
  close()
  return positions
}
