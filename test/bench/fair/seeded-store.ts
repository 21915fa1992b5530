/**
 * A store in memory whose queue is written as rows: a thousand submits would take longer than the simulation.
 */
import { v7 as uuidv7 } from 'uuid'
import type { AppId } from '../../../src/domain/prediction.ts'
import { openDatabase } from '../../../src/store/sqlite/connection.ts'
import { createGroupCommit } from '../../../src/store/sqlite/group-commit.ts'
import { createPredictionStore } from '../../../src/store/sqlite/predictions/write.ts'
import { createQueueStore } from '../../../src/store/sqlite/queue/queue.ts'
import { apps, predictions } from '../../../src/store/sqlite/schema.ts'
import { createSharedParts } from '../../../src/store/sqlite/shared-parts.ts'
import { INPUT, PRICE, T } from '../../support/store.ts'

/** A statement has at most 32,766 parameters. */
const ROWS_PER_INSERT = 500

interface QueuedRow {
  appId: AppId
  createdAt: number
  isImageVerified: boolean
}

export function openSeededStore() {
  const { db, close } = openDatabase(':memory:', { exclusive: false })
  const parts = createSharedParts(db)
  const group = createGroupCommit(db, () => {})
  let names = 0
  return {
    store: { ...createPredictionStore(db, group, parts), ...createQueueStore(db, () => {}, parts) },
    addApp(weight: number): AppId {
      const id = uuidv7() as AppId
      db.insert(apps)
        .values({ id, name: `app ${names++}`, createdAt: T, weight })
        .run()
      return id
    },
    insertQueued(rows: readonly QueuedRow[]): void {
      db.transaction(tx => {
        for (let i = 0; i < rows.length; i += ROWS_PER_INSERT)
          tx.insert(predictions)
            .values(rows.slice(i, i + ROWS_PER_INSERT).map(toRow))
            .run()
      })
    },
    [Symbol.dispose]: close,
  }
}

const toRow = ({ appId, createdAt, isImageVerified }: QueuedRow): typeof predictions.$inferInsert => ({
  id: uuidv7(),
  appId,
  model: 'WAN_2_2_I2V_PLUS_1080P',
  ...INPUT,
  tags: [],
  createdAt,
  status: 'QUEUED',
  outputs: [],
  cost: PRICE,
  updatedAt: createdAt,
  dueAt: createdAt,
  imageVerifiedAt: isImageVerified ? createdAt : null,
})
