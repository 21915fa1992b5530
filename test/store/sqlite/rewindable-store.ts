/**
 * A store in memory that can go back to an earlier state: its predictions, queue, events and apps. A mark is a
 * savepoint, in which the store's own transactions are nested.
 */
import { createAppStore } from '../../../src/store/sqlite/apps.ts'
import { openDatabase } from '../../../src/store/sqlite/connection.ts'
import { createEventStore, createLogReader } from '../../../src/store/sqlite/events.ts'
import { createGroupCommit } from '../../../src/store/sqlite/group-commit.ts'
import { createPredictionStore } from '../../../src/store/sqlite/predictions/write.ts'
import { createQueueStore } from '../../../src/store/sqlite/queue/queue.ts'
import { createSharedParts } from '../../../src/store/sqlite/shared-parts.ts'
import type { Store } from '../../../src/store/store.ts'
import type { RewindableStore } from '../../support/engine.ts'

export async function openRewindable(): Promise<RewindableStore> {
  const { db, close } = openDatabase(':memory:', { exclusive: false })
  const { $client: client } = db
  const notify = () => {}
  const shared = createSharedParts(db)
  const parts = {
    ...createPredictionStore(db, createGroupCommit(db, notify), shared),
    ...createQueueStore(db, notify, shared),
    ...createEventStore(db, shared, createLogReader(db)),
    ...createAppStore(db),
  }
  let depth = 0
  return {
    store: parts as Partial<Store> as Store,
    async mark() {
      const savepoint = `mark${depth++}`
      client.exec(`savepoint ${savepoint}`)
      return {
        rewind: async () => void client.exec(`rollback to ${savepoint}`),
        async release() {
          client.exec(`release ${savepoint}`)
          depth--
        },
      }
    },
    [Symbol.asyncDispose]: async () => close(),
  }
}
