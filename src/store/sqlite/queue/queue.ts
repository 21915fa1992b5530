/**
 * Who may work on what, in SQLite. A claim is one UPDATE … RETURNING that pushes `due_at` ahead and raises the fence:
 * what a dead worker held becomes due by itself, and what it still writes is refused. What waits is claimed in the order
 * of fairness.ts (images, submits), what was sent when it is due (here).
 */
import type { Queue } from '../../store.ts'
import type { Db } from '../connection.ts'
import { and, asc, eq, gt, gte, inArray, lte, ne, or, type SQL, sql } from '../drizzle.ts'
import { toJob } from '../row-mapping.ts'
import {
  BEGUN,
  FOLLOWED,
  IN_FLIGHT,
  pace,
  pause,
  posts,
  predictions,
  SOUGHT,
  TOLD,
  UNANSWERED,
  WAITING,
} from '../schema.ts'
import type { SharedStatements } from '../shared-statements.ts'
import { createImages } from './claim-image-checks.ts'
import { createSubmits } from './claim-submits.ts'
import { createPositions } from './positions.ts'
import { countOf, exists } from './submit-circuit.ts'

const HOUR = 60 * 60 * 1000
/** One that is due later was begun by a clock that was wrong. */
const LONGEST_PAUSE = 2 * HOUR

export function createQueue(db: Db, ring: () => void, { paces: standing, order }: SharedStatements): Queue {
  const due = (where: SQL, ...first: SQL[]) =>
    db
      .select({ id: predictions.id })
      .from(predictions)
      .where(and(where, lte(predictions.dueAt, sql.placeholder('now'))))
      .orderBy(...first, asc(predictions.dueAt))
      .limit(sql.placeholder('limit'))

  const claiming = (next: ReturnType<typeof due>) =>
    db
      .update(predictions)
      .set({ fence: sql`${predictions.fence} + 1`, dueAt: sql`${sql.placeholder('leaseUntil')}` })
      .where(inArray(predictions.id, next))
      .returning()
      .prepare()
  const followed = claiming(due(FOLLOWED))
  // Whoever still waits goes before what was given up, of which a week may have left hundreds.
  const sought = claiming(due(SOUGHT, asc(TOLD)))
  const others = sql`${predictions.id} not in (select value from json_each(${sql.placeholder('except')}))`
  const abandoned = claiming(due(and(BEGUN, others)!))

  const ripe = db
    .select()
    .from(pause)
    .where(
      and(
        or(lte(pause.until, sql.placeholder('now')), gt(pause.until, sql.placeholder('latest'))),
        eq(pause.trial, false),
      ),
    )
    .prepare()

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
    ...createImages(db, standing),
    ...createSubmits(db, standing),
    ...createPositions(db, order),
    claimPolls: async request => followed.all({ ...request }).map(toJob),
    claimSought: async request => sought.all({ ...request }).map(toJob),
    claimAbandoned: async ({ except = [], ...request }) =>
      abandoned.all({ ...request, except: JSON.stringify([...except]) }).map(toJob),

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
        db,
        and(
          UNANSWERED,
          eq(predictions.model, model),
          gte(predictions.begunAt, from),
          lte(predictions.begunAt, to),
          ne(predictions.id, id),
        )!,
      ),

    paused: async () => standing.pause(),
    pace: async () => standing.pace(),

    async claimProbe(now, next) {
      return db.transaction(
        tx => {
          const paused = ripe.get({ now, latest: now + LONGEST_PAUSE })
          if (paused === undefined) return null
          tx.update(pause)
            .set({ until: next(paused) })
            .where(eq(pause.version, paused.version))
            .run()
          return paused
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
          for (const where of [SOUGHT, BEGUN])
            tx.update(predictions)
              .set({ begunAt: sql`${predictions.begunAt} + ${ms}` })
              .where(where)
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
