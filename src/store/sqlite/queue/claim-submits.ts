/**
 * Who is sent next, in SQLite: one UPDATE … RETURNING takes the first rows of the queue's order and raises their fence.
 * Invariant: a row is `begun` on disk before its POST, and never more rows are begun than the account's limits and its
 * app's allow, counted from the rows themselves.
 */
import type { StandingPause } from '../../../domain/submit-circuit.ts'
import type { Queue, SubmitClaim } from '../../store.ts'
import type { Db } from '../connection.ts'
import { and, count, gt, inArray, lte, type SQL, sql } from '../drizzle.ts'
import { prepare } from '../prepare.ts'
import { toJob } from '../row-mapping.ts'
import { BEGUN, pause, posts, predictions, WAITING } from '../schema.ts'
import { IN_ORDER, IS_HELD, STANDS } from './fair-order.ts'
import { countOf, type Paces } from './submit-circuit.ts'

const MINUTE = 60 * 1000
const HOUR = 60 * MINUTE

export function createSubmits(db: Db, paces: Paces): Pick<Queue, 'claimSubmits'> {
  const anyReady = prepare<number>(
    db,
    sql`select exists (
      select 1 from predictions where ${WAITING} and image_seen_at > @imagesSince and due_at <= @now
    )`,
  ).pluck()

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
    const places = Math.min(concurrency ?? Infinity, paces.pace()?.concurrency ?? Infinity)
    const slots = places === Infinity ? limit : places - paces.inUse()
    // A post ahead of the clock was made before the clock was put back.
    const recent = and(gt(posts.begunAt, now - MINUTE), lte(posts.begunAt, now + MINUTE))
    const rate =
      perMinute === null ? limit : perMinute - db.select({ n: count() }).from(posts).where(recent).get()!.n
    return Math.max(0, Math.min(limit, trial, slots, rate))
  }

  /** What is ready is little, however long the queue: no more than the stock of seen images and what was refused lately. */
  const first = ({ now, imagesSince }: SubmitClaim, last: SQL, room: number) => sql`(
    with ${STANDS},
    ready as (
      select predictions.id, ${last} as last, stands.*,
        row_number() over (
          partition by predictions.app_id order by ${last}, predictions.created_at, predictions.id
        ) as k
      from predictions indexed by predictions_seen
        cross join stands on stands.app_id = predictions.app_id
      where ${WAITING} and image_seen_at > ${imagesSince} and due_at <= ${now}
    )
    select id from ready where not ${IS_HELD} order by last, ${IN_ORDER} limit ${room}
  )`

  return {
    async claimSubmits(request) {
      const { now, leaseUntil, imagesSince } = request
      // Most rings are not about a row that could be sent: no write lock, and nothing counted, for those.
      if (anyReady.get({ imagesSince, now }) === 0 || paces.pause()?.trial === false) return []
      const claimed = db.transaction(
        tx => {
          const standing = paces.pause()
          const room = roomFor(request, standing)
          if (room === 0) return []
          // A job that upstream alone refuses must not be every trial's, nor the first after each.
          // Once rested for an hour it goes like any other, or an endless queue of others' would be before it.
          const last = standing === null ? sql`(attempts > 2 and due_at > ${now - HOUR})` : sql`attempts`
          const rows = tx
            .update(predictions)
            .set({
              fence: sql`${predictions.fence} + 1`,
              dueAt: leaseUntil,
              submission: 'begun',
              begunAt: now,
              attempts: sql`${predictions.attempts} + 1`,
            })
            .where(inArray(predictions.id, first(request, last, room)))
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
  }
}
