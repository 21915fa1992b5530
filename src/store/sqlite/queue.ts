/**
 * Who may work on what, in SQLite. A claim is one UPDATE … RETURNING that pushes `due_at` ahead and raises the fence:
 * what a dead worker held becomes due by itself, and what it still writes is refused.
 * Invariant: a row is `begun` on disk before its POST, and never more rows are begun than the account's limits allow,
 * counted from the rows themselves.
 */
import {
  and,
  asc,
  count,
  eq,
  gt,
  gte,
  inArray,
  isNull,
  lte,
  ne,
  notInArray,
  or,
  type SQL,
  sql,
} from 'drizzle-orm'
import type { StandingPause } from '../../pause.ts'
import type { Queue, SubmitClaim } from '../store.ts'
import type { Db, Tx } from './database.ts'
import { countOf, inUse, paceOf } from './pace.ts'
import { toJob } from './rows.ts'
import {
  BEGUN,
  FOLLOWED,
  IN_FLIGHT,
  pace,
  pause,
  posts,
  predictions,
  SOUGHT,
  UNANSWERED,
  WAITING,
} from './tables.ts'

const MINUTE = 60 * 1000
const HOUR = 60 * MINUTE
/** One that is due later was begun by a clock that was wrong. */
const LONGEST_PAUSE = 2 * HOUR

const oldest = [asc(predictions.createdAt), asc(predictions.id)]
const raised = { fence: sql`${predictions.fence} + 1` }

export function createQueue(db: Db, ring: () => void): Queue {
  const due = (where: SQL) =>
    db
      .select({ id: predictions.id })
      .from(predictions)
      .where(and(where, lte(predictions.dueAt, sql.placeholder('now'))))
      .orderBy(asc(predictions.dueAt))
      .limit(sql.placeholder('limit'))

  /** How many may be begun now. Asked under the write lock, so it stays true until they are. */
  function roomFor(
    { now, limit, concurrency, perMinute }: SubmitClaim,
    standing: StandingPause | null,
  ): number {
    const begun = countOf(db, BEGUN)
    // An abandoned row is an unknown that is not yet settled: nothing is sent before it is.
    if (begun > 0 && countOf(db, and(BEGUN, lte(predictions.dueAt, now))!) > 0) return 0
    // On trial: one, and only when nobody else's is under way.
    const trial = standing === null ? limit : standing.trial ? 1 - begun : 0
    const places = Math.min(concurrency ?? Infinity, paceOf(db)?.concurrency ?? Infinity)
    const slots = places === Infinity ? limit : places - inUse(db)
    // A post ahead of the clock was made before the clock was put back.
    const recent = and(gt(posts.begunAt, now - MINUTE), lte(posts.begunAt, now + MINUTE))
    const rate =
      perMinute === null ? limit : perMinute - db.select({ n: count() }).from(posts).where(recent).get()!.n
    return Math.max(0, Math.min(limit, trial, slots, rate))
  }

  const claiming = (next: ReturnType<typeof due>) =>
    db
      .update(predictions)
      .set({ ...raised, dueAt: sql`${sql.placeholder('leaseUntil')}` })
      .where(inArray(predictions.id, next))
      .returning()
      .prepare()
  const followed = claiming(due(FOLLOWED))
  const sought = claiming(due(SOUGHT))

  const pauseOf = (tx: Db | Tx) => tx.select().from(pause).get() ?? null
  const exists = (where: SQL) =>
    db.select({ id: predictions.id }).from(predictions).where(where).limit(1).get() !== undefined

  const nextLook = db
    .update(predictions)
    .set({ dueAt: sql`${sql.placeholder('dueAt')}`, runningAt: sql`${sql.placeholder('runningAt')}` })
    .where(
      and(
        eq(predictions.id, sql.placeholder('id')),
        eq(predictions.fence, sql.placeholder('fence')),
        FOLLOWED,
      ),
    )
    .prepare()

  return {
    async claimImages({ now, leaseUntil, limit, imagesSince, stock, exceptApps = [] }) {
      const standing = pauseOf(db)
      // While nothing may be sent, what was seen is not looked at again: a host that fails meanwhile would end the job.
      const since = standing !== null && !standing.trial ? 0 : imagesSince
      const unseen = or(isNull(predictions.imageSeenAt), lte(predictions.imageSeenAt, since))
      const others = notInArray(predictions.appId, [...exceptApps])
      const which = and(WAITING, unseen, lte(predictions.dueAt, now), others)!
      if (!exists(which)) return []
      // What was refused once and waits again keeps nobody from being made ready: a trial may have to be another's.
      const isReady = and(WAITING, gt(predictions.imageSeenAt, since), eq(predictions.attempts, 0))!
      const room = Math.min(limit, stock - countOf(db, isReady))
      if (room <= 0) return []
      // A first look comes before all second ones: hosts that hang hold up nobody else's.
      const first = and(which, eq(predictions.imageTries, 0))!
      const next = db
        .select({ id: predictions.id })
        .from(predictions)
        .where(exists(first) ? first : which)
        .orderBy(...oldest)
        .limit(room)
      return db
        .update(predictions)
        .set({ ...raised, dueAt: leaseUntil })
        .where(inArray(predictions.id, next))
        .returning()
        .all()
        .map(toJob)
    },

    async claimSubmits(request) {
      const { now, leaseUntil, imagesSince } = request
      const isReady = and(WAITING, gt(predictions.imageSeenAt, imagesSince), lte(predictions.dueAt, now))!
      // Most rings are not about a row that could be sent: no write lock, and nothing counted, for those.
      if (!exists(isReady) || pauseOf(db)?.trial === false) return []
      const claimed = db.transaction(
        tx => {
          const standing = pauseOf(tx)
          const room = roomFor(request, standing)
          if (room === 0) return []
          const next = tx
            .select({ id: predictions.id })
            .from(predictions)
            .where(isReady)
            // A job that upstream alone refuses must not be every trial's, nor the first after each.
            .orderBy(
              asc(standing === null ? sql`${predictions.attempts} > 2` : predictions.attempts),
              ...oldest,
            )
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

    claimPolls: async request => followed.all({ ...request }).map(toJob),
    claimSought: async request => sought.all({ ...request }).map(toJob),
    async claimAbandoned({ except = [], ...request }) {
      const left = and(BEGUN, notInArray(predictions.id, [...except]))!
      return claiming(due(left))
        .all({ ...request })
        .map(toJob)
    },

    async putOff(looks) {
      db.transaction(() => {
        for (const look of looks) nextLook.run({ ...look })
      })
    },

    overdue: async (before, limit) =>
      db
        .select({ id: predictions.id })
        .from(predictions)
        .where(and(IN_FLIGHT, lte(predictions.submittedAt, before)))
        .limit(limit)
        .all()
        .map(({ id }) => id),

    hasRival: async ({ id, model }, from, to) =>
      exists(
        and(
          UNANSWERED,
          eq(predictions.model, model),
          gte(predictions.begunAt, from),
          lte(predictions.begunAt, to),
          ne(predictions.id, id),
        )!,
      ),

    paused: async () => pauseOf(db),
    pace: async () => paceOf(db),

    async claimProbe(now, next) {
      return db.transaction(
        tx => {
          const standing = tx
            .select()
            .from(pause)
            .where(
              and(or(lte(pause.until, now), gt(pause.until, now + LONGEST_PAUSE)), eq(pause.trial, false)),
            )
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

    ownerOf: async upstreamId =>
      db.select({ id: predictions.id }).from(predictions).where(eq(predictions.upstreamId, upstreamId)).get()
        ?.id ?? null,

    async shift(ms) {
      const dueAt = sql`${predictions.dueAt} + ${ms}`
      db.transaction(
        tx => {
          for (const where of [FOLLOWED, SOUGHT, BEGUN, WAITING])
            tx.update(predictions).set({ dueAt }).where(where).run()
          tx.update(predictions)
            .set({ begunAt: sql`${predictions.begunAt} + ${ms}` })
            .where(or(SOUGHT, BEGUN))
            .run()
          tx.update(posts)
            .set({ begunAt: sql`${posts.begunAt} + ${ms}` })
            .run()
          tx.update(pause)
            .set({ since: sql`${pause.since} + ${ms}`, until: sql`${pause.until} + ${ms}` })
            .run()
          tx.update(pace)
            .set({ since: sql`${pace.since} + ${ms}` })
            .run()
        },
        { behavior: 'immediate' },
      )
    },

    async tally() {
      const inFlight = countOf(db, IN_FLIGHT)
      const lost = countOf(db, and(SOUGHT, eq(predictions.following, 'closely'))!)
      return {
        waiting: countOf(db, WAITING),
        begun: countOf(db, BEGUN),
        inFlight,
        // The index of what is followed does not say how: counted by its rows, 12 ms with 10,000 in flight.
        late: countOf(db, FOLLOWED) - (inFlight - lost),
        sought: countOf(db, SOUGHT),
      }
    },
  }
}
