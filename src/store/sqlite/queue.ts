/**
 * Who may work on what, in SQLite. A claim is one UPDATE … RETURNING that pushes `due_at` ahead and raises the fence:
 * what a dead worker held becomes due by itself, and what it still writes is refused.
 * Invariant: a row is `begun` on disk before its POST, and never more rows are begun than the account's limits allow,
 * counted from the rows themselves.
 */
import { and, asc, count, eq, gt, inArray, lte, notInArray, type SQL, sql } from 'drizzle-orm'
import type { StandingPause } from '../../prediction.ts'
import type { Claim, Queue, SubmitClaim } from '../store.ts'
import type { Db } from './database.ts'
import { toJob } from './rows.ts'
import { BEGUN, IN_FLIGHT, pause, posts, predictions, WAITING } from './tables.ts'

const MINUTE = 60 * 1000
const HOUR = 60 * MINUTE

export function createQueue(db: Db, ring: () => void): Queue {
  const due = (where: SQL, { now, limit }: Claim) =>
    db
      .select({ id: predictions.id })
      .from(predictions)
      .where(and(where, lte(predictions.dueAt, now)))
      .orderBy(asc(predictions.dueAt))
      .limit(limit)

  const countOf = (where: SQL) => db.select({ n: count() }).from(predictions).where(where).get()!.n

  /** How many may be begun now. Asked under the write lock, so it stays true until they are. */
  function roomFor(
    { now, limit, concurrency, perMinute }: SubmitClaim,
    standing: StandingPause | null,
  ): number {
    const begun = countOf(BEGUN)
    // An abandoned row is an unknown that is not yet settled: nothing is sent before it is.
    if (begun > 0 && countOf(and(BEGUN, lte(predictions.dueAt, now))!) > 0) return 0
    // On trial: one, and only when nobody else's is under way.
    const trial = standing === null ? limit : standing.trial ? 1 - begun : 0
    const slots = concurrency === null ? limit : concurrency - begun - countOf(IN_FLIGHT)
    // A post ahead of the clock was made before the clock was put back.
    const recent = and(gt(posts.begunAt, now - MINUTE), lte(posts.begunAt, now + MINUTE))
    const rate =
      perMinute === null ? limit : perMinute - db.select({ n: count() }).from(posts).where(recent).get()!.n
    return Math.max(0, Math.min(limit, trial, slots, rate))
  }

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
    async claimSubmits(request) {
      const { now, leaseUntil } = request
      const claimed = db.transaction(
        tx => {
          const standing = tx.select().from(pause).get() ?? null
          const room = roomFor(request, standing)
          if (room === 0) return []
          const oldest = [asc(predictions.createdAt), asc(predictions.id)]
          const next = tx
            .select({ id: predictions.id })
            .from(predictions)
            .where(and(WAITING, lte(predictions.dueAt, now)))
            // A job that upstream alone refuses must not be every trial's.
            .orderBy(...(standing === null ? oldest : [asc(predictions.attempts), ...oldest]))
            .limit(room)
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
          const sent = rows.map(({ id, attempts }) => ({ predictionId: id, attempt: attempts, begunAt: now }))
          tx.insert(posts).values(sent).run()
          tx.delete(posts)
            .where(lte(posts.begunAt, now - HOUR))
            .run()
          if (standing !== null) tx.update(pause).set({ trialOf: rows[0]!.id }).run()
          return rows
        },
        { behavior: 'immediate' },
      )
      return claimed.map(toJob).sort((a, b) => a.createdAt - b.createdAt || (a.id < b.id ? -1 : 1))
    },

    claimPolls: async request => claim(IN_FLIGHT, request),
    claimAbandoned: async ({ except = [], ...request }) =>
      claim(and(BEGUN, notInArray(predictions.id, [...except]))!, request),

    paused: async () => db.select().from(pause).get() ?? null,

    async claimProbe(now, next) {
      return db.transaction(
        tx => {
          const standing = tx
            .select()
            .from(pause)
            .where(and(lte(pause.until, now), eq(pause.trial, false)))
            .get()
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
      const which = and(eq(pause.version, version), eq(pause.trial, false))
      const resumed = db.update(pause).set({ trial: true, trialOf: null }).where(which).run().changes > 0
      if (resumed) ring()
      return resumed
    },

    ownsUpstreamId: async upstreamId =>
      db
        .select({ id: predictions.id })
        .from(predictions)
        .where(eq(predictions.upstreamId, upstreamId))
        .get() !== undefined,
  }
}
