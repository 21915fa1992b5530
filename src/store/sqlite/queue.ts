/**
 * Who may work on what, in SQLite. A claim is one UPDATE … RETURNING that pushes `due_at` ahead and raises the fence:
 * what a dead worker held becomes due by itself, and what it still writes is refused.
 * Invariant: a row is `begun` on disk before its POST, and never more rows are begun than the account's limits allow,
 * counted from the rows themselves.
 */
import { and, asc, eq, gt, inArray, lte, type SQL, sql } from 'drizzle-orm'
import type { Claim, Queue } from '../store.ts'
import type { Db } from './database.ts'
import { toJob } from './rows.ts'
import { BEGUN, IN_FLIGHT, pause, posts, predictions, WAITING } from './tables.ts'

const MINUTE = 60 * 1000

export function createQueue(db: Db, ring: () => void): Queue {
  const due = (where: SQL, { now, limit }: Claim) =>
    db
      .select({ id: predictions.id })
      .from(predictions)
      .where(and(where, lte(predictions.dueAt, now)))
      .orderBy(asc(predictions.dueAt))
      .limit(limit)

  const raised = { fence: sql`${predictions.fence} + 1` }

  const claim = (where: SQL, request: Claim) =>
    db
      .update(predictions)
      .set({ ...raised, dueAt: request.leaseUntil })
      .where(inArray(predictions.id, due(where, request)))
      .returning()
      .all()
      .map(toJob)

  return {
    async claimSubmits({ now, leaseUntil, limit, concurrency, perMinute }) {
      const busy = sql`(select count(*) from ${predictions} where ${BEGUN}) + (select count(*) from ${predictions} where ${IN_FLIGHT})`
      const recent = sql`(select count(*) from ${posts} where ${gt(posts.begunAt, now - MINUTE)})`
      const room = sql`max(0, min(${limit}, ${concurrency ?? limit} - ${concurrency === null ? 0 : sql`(${busy})`}, ${perMinute ?? limit} - ${perMinute === null ? 0 : recent}))`
      const next = db
        .select({ id: predictions.id })
        .from(predictions)
        .where(and(WAITING, lte(predictions.dueAt, now), sql`not exists (select 1 from ${pause})`))
        .orderBy(asc(predictions.createdAt), asc(predictions.id))
        .limit(room as unknown as number)
      const claimed = db.transaction(
        tx => {
          const rows = tx
            .update(predictions)
            .set({
              ...raised,
              dueAt: leaseUntil,
              submission: 'begun',
              begunAt: now,
              attempts: sql`${predictions.attempts} + 1`,
            })
            .where(inArray(predictions.id, next))
            .returning()
            .all()
          if (rows.length === 0) return []
          const begun = rows.map(({ id, attempts }) => ({
            predictionId: id,
            attempt: attempts,
            begunAt: now,
          }))
          tx.insert(posts).values(begun).run()
          tx.delete(posts)
            .where(lte(posts.begunAt, now - 60 * MINUTE))
            .run()
          return rows
        },
        { behavior: 'immediate' },
      )
      return claimed.map(toJob).sort((a, b) => a.createdAt - b.createdAt || (a.id < b.id ? -1 : 1))
    },

    claimPolls: async request => claim(IN_FLIGHT, request),
    claimAbandoned: async request => claim(BEGUN, request),

    paused: async () => db.select().from(pause).get() ?? null,

    async claimProbe(now, next) {
      return db.transaction(
        tx => {
          const standing = tx.select().from(pause).where(lte(pause.until, now)).get()
          if (standing === undefined) return null
          tx.update(pause)
            .set({ until: next(standing) })
            .where(eq(pause.version, standing.version))
            .run()
          return standing
        },
        { behavior: 'immediate' },
      )
    },

    async resume(version) {
      const ended = db.delete(pause).where(eq(pause.version, version)).run().changes > 0
      if (ended) ring()
      return ended
    },
  }
}
