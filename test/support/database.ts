/**
 * A store, and direct access to its rows: for states that take hours to arise, and for an operator's changes.
 */

import { v7 as uuidv7 } from 'uuid'
import type { AppId } from '../../src/domain/prediction.ts'
import { openDatabase } from '../../src/store/sqlite/connection.ts'
import { and, count, eq } from '../../src/store/sqlite/drizzle.ts'
import { createGroupCommit } from '../../src/store/sqlite/group-commit.ts'
import { WAITING } from '../../src/store/sqlite/predicates.ts'
import { createPredictionStore } from '../../src/store/sqlite/predictions/write.ts'
import { createQueueStore } from '../../src/store/sqlite/queue/queue.ts'
import { apps, predictions } from '../../src/store/sqlite/schema.ts'
import { createSharedParts } from '../../src/store/sqlite/shared-parts.ts'
import type { Claim, ImageClaim, PredictionStore, QueueStore, SubmitClaim } from '../../src/store/store.ts'
import { HOUR, INPUT, PRICE, T } from './store.ts'

export type AppRow = typeof apps.$inferInsert
type Row = typeof predictions.$inferInsert

/** A statement has at most 32,766 parameters. */
const ROWS_PER_INSERT = 500

/** @param file a path for tests that open the file again; it is not deleted */
export function openTestDatabase(file = ':memory:') {
  const { db, close } = openDatabase(file, { exclusive: false })
  const parts = createSharedParts(db)
  const group = createGroupCommit(db, () => {})
  const store = {
    ...createPredictionStore(db, group, parts),
    ...createQueueStore(db, () => {}, parts),
  }
  let names = 0
  return {
    store,
    addApp(over: Partial<AppRow> = {}): AppId {
      const row = { id: uuidv7(), name: `app ${names++}`, createdAt: T, ...over }
      db.insert(apps).values(row).run()
      return row.id as AppId
    },
    updateApp: (app: AppId, fields: Partial<AppRow>) =>
      db.update(apps).set(fields).where(eq(apps.id, app)).run(),
    queuedCount: (app: AppId) =>
      db
        .select({ n: count() })
        .from(predictions)
        .where(and(eq(predictions.appId, app), WAITING))
        .get()!.n,
    virtualTimeOf: (app: AppId) => db.select().from(apps).where(eq(apps.id, app)).get()!.virtualTime,
    insertRows(rows: readonly Row[]) {
      db.transaction(tx => {
        for (let i = 0; i < rows.length; i += ROWS_PER_INSERT)
          tx.insert(predictions)
            .values(rows.slice(i, i + ROWS_PER_INSERT))
            .run()
      })
    },
    [Symbol.dispose]: close,
  }
}

export type TestStore = PredictionStore & QueueStore

/** A queued row whose image was verified. */
export const queuedRow = (appId: AppId, createdAt: number, over: Partial<Row> = {}): Row => ({
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
  imageVerifiedAt: createdAt,
  ...over,
})

/** A row that upstream works on. */
export const inFlightRow = (appId: AppId, createdAt: number, over: Partial<Row> = {}): Row =>
  queuedRow(appId, createdAt, {
    status: 'CREATED',
    submission: 'accepted',
    tracking: 'active',
    submittedAt: createdAt,
    submitStartedAt: createdAt,
    submitAttempts: 1,
    ...over,
  })

export const times = <Value>(count: number, make: (i: number) => Value): Value[] =>
  Array.from({ length: count }, (_, i) => make(i))

const claim = (now: number, limit: number): Claim => ({ now, leaseUntil: now + 10_000 * HOUR, limit })

export const claimSubmits = (store: TestStore, now: number, limit: number, over: Partial<SubmitClaim> = {}) =>
  store.claimSubmits({
    ...claim(now, limit),
    upstreamConcurrency: null,
    upstreamSubmitsPerMinute: null,
    imageVerifiedAfter: 0,
    ...over,
  })

export const claimImages = (store: TestStore, now: number, limit: number, over: Partial<ImageClaim> = {}) =>
  store.claimImageChecks({ ...claim(now, limit), imageVerifiedAfter: 0, readyTarget: limit, ...over })
