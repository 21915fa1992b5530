import fc from 'fast-check'
import { v7 as uuidv7 } from 'uuid'
import { expect, test } from 'vitest'
import { MAX_CREDIT_MS } from '../../../../src/domain/fair-queue.ts'
import type { AppId } from '../../../../src/domain/prediction.ts'
import {
  type AppVirtualTime,
  withBacklogStart,
  withReleasedSlot,
} from '../../../../src/domain/virtual-time.ts'
import { openDatabase } from '../../../../src/store/sqlite/connection.ts'
import { createFairOrder, type FairOrder } from '../../../../src/store/sqlite/queue/fair-order.ts'
import { apps, predictions } from '../../../../src/store/sqlite/schema.ts'
import { INPUT, MINUTE, PRICE, T, times } from '../../../support/store.ts'

/** Sums of these are exact, because SQLite adds up in another way. */
const virtualTime = fc.integer({ min: -40, max: 40 }).map(steps => steps * (MAX_CREDIT_MS / 16))
const app = fc.record({
  weight: fc.constantFrom(1, 2, 4),
  maxInFlight: fc.option(fc.nat(3)),
  waitingJobs: fc.nat(2),
  begunJobs: fc.nat(1),
  inFlightJobs: fc.nat(2),
  virtualTime,
  isNewlyActive: fc.boolean(),
})
type DrawnApp = typeof app extends fc.Arbitrary<infer Drawn> ? Drawn : never

type Row = typeof predictions.$inferInsert

const queuedRow = (appId: AppId, over: Partial<Row> = {}): Row => ({
  id: uuidv7(),
  appId,
  model: 'WAN_2_2_I2V_PLUS_1080P',
  ...INPUT,
  tags: [],
  createdAt: T,
  status: 'QUEUED',
  outputs: [],
  cost: PRICE,
  updatedAt: T,
  dueAt: T,
  ...over,
})

const inFlightRow = (appId: AppId, over: Partial<Row> = {}): Row =>
  queuedRow(appId, { status: 'CREATED', submission: 'accepted', tracking: 'active', ...over })

/** Fills one database with apps and their jobs, over and over. */
function openFairOrder() {
  const { db, close } = openDatabase(':memory:', { exclusive: false })
  const order = createFairOrder(db)
  return {
    /** Runs `change` on these apps alone, and returns them. */
    run(drawn: readonly DrawnApp[], change: (order: FairOrder) => void) {
      db.delete(predictions).run()
      db.delete(apps).run()
      for (const [i, { waitingJobs, begunJobs, inFlightJobs, ...row }] of drawn.entries()) {
        const id = `app-${i}` as AppId
        db.insert(apps)
          .values({ ...row, id, name: id, createdAt: T })
          .run()
        for (const job of [
          ...times(waitingJobs, () => queuedRow(id)),
          ...times(begunJobs, () => queuedRow(id, { submission: 'begun' })),
          ...times(inFlightJobs, () => inFlightRow(id)),
          // An ended job counts for nothing.
          inFlightRow(id, { tracking: null, status: 'COMPLETED' }),
        ])
          db.insert(predictions).values(job).run()
      }
      change(order)
      return db.select().from(apps).orderBy(apps.id).all()
    },
    [Symbol.dispose]: close,
  }
}

const inDomain = (drawn: readonly DrawnApp[]): AppVirtualTime[] =>
  drawn.map(({ begunJobs, inFlightJobs, ...rest }, i) => ({
    ...rest,
    appId: `app-${i}`,
    activeJobs: begunJobs + inFlightJobs,
    backlogStartedAt: 0,
  }))

function expectSame(rows: readonly (typeof apps.$inferSelect)[], expected: readonly AppVirtualTime[]): void {
  for (const [i, row] of rows.entries()) {
    const { virtualTime, backlogStartedAt, isNewlyActive } = expected[i]!
    expect(row.virtualTime).toBeCloseTo(virtualTime, 3)
    expect(row.backlogStartedAt).toBe(backlogStartedAt)
    expect(row.isNewlyActive).toBe(isNewlyActive)
  }
}

test('an app’s backlog starts in SQL as in domain/virtual-time.ts', () => {
  using f = openFairOrder()
  fc.assert(
    fc.property(fc.array(app, { minLength: 1, maxLength: 4 }), fc.nat(3), (drawn, index) => {
      const before = inDomain(drawn)
      const own = before[index % before.length]!
      const rows = f.run(drawn, order => order.startBacklog.run({ appId: own.appId, now: T + MINUTE }))
      const expected = before.map(each => (each === own ? withBacklogStart(own, before, T + MINUTE) : each))
      expectSame(rows, expected)
    }),
    { numRuns: 200 },
  )
})

test('a job releases its slot in SQL as in domain/virtual-time.ts', () => {
  using f = openFairOrder()
  const heldMs = fc.integer({ min: 0, max: 60 }).map(minutes => minutes * MINUTE)
  fc.assert(
    fc.property(fc.array(app, { minLength: 1, maxLength: 4 }), fc.nat(3), heldMs, (drawn, index, heldMs) => {
      const before = inDomain(drawn)
      const { appId } = before[index % before.length]!
      const rows = f.run(drawn, order => order.releaseSlot(appId, heldMs))
      expectSame(rows, withReleasedSlot(before, appId, heldMs))
    }),
    { numRuns: 200 },
  )
})
