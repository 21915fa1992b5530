/**
 * Claims work. A claim is one UPDATE … RETURNING that sets a lease (`due_at`) and raises the fence: rows of a dead
 * worker become due by themselves, and its late writes are refused. Waiting rows are claimed in fair order
 * (claim-image-checks.ts, claim-submits.ts), sent rows by due time (here).
 */
import { isProbeDue } from '../../../domain/submit-circuit.ts'
import type { QueueStore } from '../../store.ts'
import type { Db } from '../connection.ts'
import { and, asc, count, eq, gte, inArray, lte, ne, type SQL, sql } from '../drizzle.ts'
import {
  HAS_LEFT_QUEUE,
  IN_FLIGHT,
  SUBMIT_STARTED,
  TRACKED,
  UNANSWERED,
  UNRESOLVED,
  WAITING,
} from '../predicates.ts'
import { toJob } from '../row-mapping.ts'
import { NEXT_VERSION } from '../row-version.ts'
import { concurrencyLimit, predictions, submitAttempts, submitCircuit } from '../schema.ts'
import type { SharedParts } from '../shared-parts.ts'
import { createImageCheckClaims } from './claim-image-checks.ts'
import { createSubmitClaims } from './claim-submits.ts'
import { HAS_HOLDS, IS_HELD } from './holds.ts'
import { createQueuePositions } from './positions.ts'

export function createQueueStore(
  db: Db,
  notify: () => void,
  { submitThrottle, fairOrder }: SharedParts,
): QueueStore {
  const selectDue = (where: SQL, ...leadingOrder: SQL[]) =>
    db
      .select({ id: predictions.id })
      .from(predictions)
      .where(and(where, lte(predictions.dueAt, sql.placeholder('now'))))
      .orderBy(...leadingOrder, asc(predictions.dueAt))
      .limit(sql.placeholder('limit'))

  const prepareClaim = (dueIds: ReturnType<typeof selectDue>) =>
    db
      .update(predictions)
      .set({
        ...NEXT_VERSION,
        fence: sql`${predictions.fence} + 1`,
        dueAt: sql`${sql.placeholder('leaseUntil')}`,
      })
      .where(inArray(predictions.id, dueIds))
      .returning()
      .prepare()
  const claimTracked = prepareClaim(selectDue(TRACKED))
  // Rows whose client still waits come first: a week may have left hundreds of ended ones.
  const claimUnresolved = prepareClaim(selectDue(UNRESOLVED, asc(HAS_LEFT_QUEUE)))
  const isNotOfThisProcess = sql`${predictions.id} not in (select value from json_each(${sql.placeholder('submittingIds')}))`
  const claimAbandoned = prepareClaim(selectDue(and(SUBMIT_STARTED, isNotOfThisProcess)!))

  const reschedulePoll = db
    .update(predictions)
    .set({
      ...NEXT_VERSION,
      dueAt: sql`${sql.placeholder('dueAt')}`,
      lastSeenRunningAt: sql`${sql.placeholder('lastSeenRunningAt')}`,
    })
    .where(
      and(
        eq(predictions.id, sql.placeholder('id')),
        eq(predictions.fence, sql.placeholder('fence')),
        TRACKED,
      ),
    )
    .prepare()

  return {
    ...createImageCheckClaims(db, submitThrottle),
    ...createSubmitClaims(db, submitThrottle),
    ...createQueuePositions(db, fairOrder),
    claimPolls: async request => claimTracked.all({ ...request }).map(toJob),
    claimUnresolvedSubmits: async request => claimUnresolved.all({ ...request }).map(toJob),
    async claimAbandonedSubmits({ thisProcess, ...request }) {
      const submittingIds = JSON.stringify([...(thisProcess?.submittingIds ?? [])])
      return claimAbandoned.all({ ...request, submittingIds }).map(toJob)
    },

    async reschedule(polls) {
      db.transaction(() => {
        for (const poll of polls) reschedulePoll.run({ ...poll })
      })
    },

    findOverdueIds: async (acceptedBefore, limit) =>
      db
        .select({ id: predictions.id })
        .from(predictions)
        .where(and(IN_FLIGHT, lte(predictions.submittedAt, acceptedBefore)))
        .limit(limit)
        .all()
        .map(({ id }) => id),

    hasConflictingSubmit: async ({ id, model }, from, to) =>
      db
        .select({ id: predictions.id })
        .from(predictions)
        .where(
          and(
            UNANSWERED,
            eq(predictions.model, model),
            gte(predictions.submitStartedAt, from),
            lte(predictions.submitStartedAt, to),
            ne(predictions.id, id),
          ),
        )
        .limit(1)
        .get() !== undefined,

    submitCircuit: async () => submitThrottle.submitCircuit(),
    concurrencyLimit: async () => submitThrottle.concurrencyLimit(),

    async claimCircuitProbe(now, nextProbeAt) {
      return db.transaction(
        tx => {
          const circuit = submitThrottle.submitCircuit()
          if (circuit === null || !isProbeDue(circuit, now)) return null
          tx.update(submitCircuit)
            .set({ until: nextProbeAt(circuit) })
            .where(eq(submitCircuit.version, circuit.version))
            .run()
          return circuit
        },
        { behavior: 'immediate' },
      )
    },

    async halfOpenCircuit(version) {
      const isThisOpenCircuit = and(eq(submitCircuit.version, version), eq(submitCircuit.halfOpen, false))
      const isHalfOpened =
        db
          .update(submitCircuit)
          .set({ halfOpen: true, probePredictionId: null })
          .where(isThisOpenCircuit)
          .run().changes > 0
      if (isHalfOpened) notify()
      return isHalfOpened
    },

    findIdByUpstreamId: async upstreamId =>
      db.select({ id: predictions.id }).from(predictions).where(eq(predictions.upstreamId, upstreamId)).get()
        ?.id ?? null,

    async followProcessClock(ms) {
      const dueAt = sql`${predictions.dueAt} + ${ms}`
      db.transaction(
        tx => {
          for (const where of [TRACKED, UNRESOLVED, SUBMIT_STARTED, WAITING])
            tx.update(predictions)
              .set({ ...NEXT_VERSION, dueAt })
              .where(where)
              .run()
          for (const where of [UNRESOLVED, SUBMIT_STARTED])
            tx.update(predictions)
              .set({ ...NEXT_VERSION, submitStartedAt: sql`${predictions.submitStartedAt} + ${ms}` })
              .where(where)
              .run()
          tx.update(submitAttempts)
            .set({ submitStartedAt: sql`${submitAttempts.submitStartedAt} + ${ms}` })
            .run()
          tx.update(submitCircuit)
            .set({ since: sql`${submitCircuit.since} + ${ms}`, until: sql`${submitCircuit.until} + ${ms}` })
            .run()
          tx.update(concurrencyLimit)
            .set({ since: sql`${concurrencyLimit.since} + ${ms}` })
            .run()
        },
        { behavior: 'immediate' },
      )
    },

    async countByState() {
      const countRows = (where: SQL) => db.select({ n: count() }).from(predictions).where(where).get()!.n
      const inFlight = countRows(IN_FLIGHT)
      const unresolvedInFlight = countRows(and(UNRESOLVED, eq(predictions.tracking, 'active'))!)
      return {
        queued: countRows(WAITING),
        held: countRows(and(WAITING, HAS_HOLDS, IS_HELD)!),
        submitting: countRows(SUBMIT_STARTED),
        inFlight,
        // The index of tracked rows does not store `tracking`: counting by rows took 12 ms with 10,000 in flight.
        expired: countRows(TRACKED) - (inFlight - unresolvedInFlight),
        unresolved: countRows(UNRESOLVED),
      }
    },
  }
}
