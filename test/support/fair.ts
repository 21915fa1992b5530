/**
 * The store's rows, and a second hand on them: for what would take hours to come about, and an operator's changes.
 */

import { v7 as uuidv7 } from 'uuid'
import type { AppId } from '../../src/domain/prediction.ts'
import { openDatabase } from '../../src/store/sqlite/connection.ts'
import { and, eq } from '../../src/store/sqlite/drizzle.ts'
import { createGroup } from '../../src/store/sqlite/group-commit.ts'
import { createPredictions } from '../../src/store/sqlite/predictions/write.ts'
import { createQueue } from '../../src/store/sqlite/queue/queue.ts'
import { countOf } from '../../src/store/sqlite/queue/submit-circuit.ts'
import { apps, predictions, WAITING } from '../../src/store/sqlite/schema.ts'
import { createSharedStatements } from '../../src/store/sqlite/shared-statements.ts'
import type { Claim, ImageClaim, Predictions, Queue, SubmitClaim } from '../../src/store/store.ts'
import { HOUR, INPUT, PRICE, T } from './store.ts'

export type AppRow = typeof apps.$inferInsert
type Row = typeof predictions.$inferInsert

/** A statement has 32,766 parameters at most. */
const CHUNK = 500

/** @param file a path for tests that open it again; it stays */
export function shared(file = ':memory:') {
  const { db, close } = openDatabase(file, { alone: false })
  const parts = createSharedStatements(db)
  const group = createGroup(db, () => {})
  const store = {
    ...createPredictions(db, group, parts),
    ...createQueue(db, () => {}, parts),
  }
  let names = 0
  return {
    store,
    app(over: Partial<AppRow> = {}): AppId {
      const row = { id: uuidv7(), name: `app ${names++}`, createdAt: T, ...over }
      db.insert(apps).values(row).run()
      return row.id as AppId
    },
    set: (app: AppId, fields: Partial<AppRow>) => db.update(apps).set(fields).where(eq(apps.id, app)).run(),
    waits: (app: AppId) => countOf(db, and(eq(predictions.appId, app), WAITING)!),
    turnOf: (app: AppId) => db.select().from(apps).where(eq(apps.id, app)).get()!.turn,
    add(rows: readonly Row[]) {
      db.transaction(tx => {
        for (let i = 0; i < rows.length; i += CHUNK)
          tx.insert(predictions)
            .values(rows.slice(i, i + CHUNK))
            .run()
      })
    },
    [Symbol.dispose]: close,
  }
}

export type Rows = Predictions & Queue

/** It waits, and its image has been seen. */
export const waiting = (appId: AppId, createdAt: number, over: Partial<Row> = {}): Row => ({
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
  imageSeenAt: createdAt,
  ...over,
})

/** Upstream works on it. */
export const inFlight = (appId: AppId, createdAt: number, over: Partial<Row> = {}): Row =>
  waiting(appId, createdAt, {
    status: 'CREATED',
    submission: 'accepted',
    following: 'closely',
    submittedAt: createdAt,
    begunAt: createdAt,
    attempts: 1,
    ...over,
  })

export const times = <Value>(count: number, make: (i: number) => Value): Value[] =>
  Array.from({ length: count }, (_, i) => make(i))

const claim = (now: number, limit: number): Claim => ({ now, leaseUntil: now + 10_000 * HOUR, limit })

export const claimSubmits = (store: Rows, now: number, limit: number, over: Partial<SubmitClaim> = {}) =>
  store.claimSubmits({ ...claim(now, limit), concurrency: null, perMinute: null, imagesSince: 0, ...over })

export const claimImages = (store: Rows, now: number, limit: number, over: Partial<ImageClaim> = {}) =>
  store.claimImages({ ...claim(now, limit), imagesSince: 0, stock: limit, ...over })
