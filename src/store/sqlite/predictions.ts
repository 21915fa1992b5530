/**
 * Predictions in SQLite: made once, changed in one place, read by their app.
 * Invariant: `create` and `change` write row, event and spending in one transaction; no callback of a transaction is async
 * (drizzle on better-sqlite3 would commit what follows the first await outside of it).
 */
import { v7 as uuidv7 } from 'uuid'
import { type AppId, isLegal } from '../../prediction.ts'
import { sees } from '../../scope.ts'
import type { Creation, Idempotency, Predictions } from '../store.ts'
import type { Db, Tx } from './database.ts'
import { and, asc, desc, eq, inArray, lte, sql } from './drizzle.ts'
import { hasPlace, joinQueue, leavePlace } from './order.ts'
import { hold, release } from './pace.ts'
import { type Row, toJob, toPrediction, toStanding } from './rows.ts'
import { at, passes, place, visible } from './selection.ts'
import { spend } from './spending.ts'
import { COMPLETED, events, posts, predictions } from './tables.ts'
import { refusalOf } from './use.ts'

const IDEMPOTENCY_LIFE = 24 * 60 * 60 * 1000
/** Jobs the usual duration is learned from. */
const SAMPLE = 101

export function createPredictions(db: Db, ring: () => void): Predictions {
  const byId = db
    .select()
    .from(predictions)
    .where(eq(predictions.id, sql.placeholder('id')))
    .prepare()
  const owned = db
    .select()
    .from(predictions)
    .where(and(eq(predictions.id, sql.placeholder('id')), eq(predictions.appId, sql.placeholder('appId'))))
    .prepare()

  return {
    async create(draft, idempotency, now, bounds) {
      const { appId, input, cost, ...rest } = draft
      const creation = db.transaction(
        (tx): Creation => {
          const held = idempotency && holder(tx, appId, idempotency)
          if (held && isCurrent(held, now))
            return { kind: useOf(held, idempotency), prediction: toPrediction(held) }
          const refusal = refusalOf(tx, draft, bounds, now)
          if (refusal !== null) return { kind: 'refused', refusal }
          if (held)
            tx.update(predictions)
              .set({ idempotencyKey: null, fingerprint: null })
              .where(eq(predictions.id, held.id))
              .run()
          joinQueue(tx, appId, now)
          const row = tx
            .insert(predictions)
            .values({
              id: uuidv7(),
              appId,
              ...rest,
              ...input,
              cost,
              idempotencyKey: idempotency?.key ?? null,
              fingerprint: idempotency?.fingerprint ?? null,
              status: 'QUEUED',
              outputs: [],
              createdAt: now,
              updatedAt: now,
              dueAt: now,
            })
            .returning()
            .get()
          spend(tx, appId, now, cost)
          record(tx, row, null, now)
          return { kind: 'created', prediction: toPrediction(row) }
        },
        { behavior: 'immediate' },
      )
      if (creation.kind === 'created') ring()
      return creation
    },

    async repeated(appId, idempotency, now) {
      const held = holder(db, appId, idempotency)
      if (held === undefined || !isCurrent(held, now)) return null
      return { kind: useOf(held, idempotency), prediction: toPrediction(held) }
    },

    async get(scope, id) {
      const row = owned.get({ id, appId: scope.appId })
      const prediction = row ? toPrediction(row) : null
      return prediction && sees(scope, prediction) ? prediction : null
    },

    async getMany(scope, ids) {
      const rows = db
        .select()
        .from(predictions)
        .where(and(visible(scope), inArray(predictions.id, [...ids])))
        .all()
      const found = new Map(rows.map(row => [row.id, toPrediction(row)]))
      return ids.map(id => found.get(id) ?? null)
    },

    async list(scope, { limit, backward, after, before, filter }) {
      const direction = backward ? asc : desc
      const rows = db
        .select()
        .from(predictions)
        .where(
          and(
            visible(scope),
            after ? sql`${place} < ${at(after)}` : undefined,
            before ? sql`${place} > ${at(before)}` : undefined,
            passes(filter),
          ),
        )
        .orderBy(direction(predictions.createdAt), direction(predictions.id))
        .limit(limit + 1)
        .all()
      const more = rows.length > limit
      const page = rows.slice(0, limit).map(row => toPrediction(row))
      return {
        predictions: backward ? page.reverse() : page,
        hasNextPage: backward ? before !== null : more,
        hasPreviousPage: backward ? more : after !== null,
      }
    },

    async usualDuration(model) {
      const durations = db
        .select({ ms: sql<number>`${predictions.finishedAt} - ${predictions.submittedAt}` })
        .from(predictions)
        .where(and(eq(predictions.model, model), COMPLETED))
        .orderBy(desc(predictions.finishedAt))
        .limit(SAMPLE)
        .all()
        .map(row => row.ms)
        .sort((a, b) => a - b)
      return durations[durations.length >> 1] ?? null
    },

    async spans(model, limit, longestMs) {
      const sent = sql<number>`coalesce(${predictions.submittedAt}, ${predictions.createdAt})`
      const took = sql<number>`${predictions.finishedAt} - ${sent}`
      return db
        .select({
          from: sql<number>`coalesce(${predictions.runningAt}, ${sent}) - ${sent}`,
          to: took,
        })
        .from(predictions)
        .where(and(eq(predictions.model, model), COMPLETED, lte(took, longestMs)))
        .orderBy(desc(predictions.finishedAt))
        .limit(limit)
        .all()
    },

    async change(id, decide, now, fence) {
      const changed = db.transaction(
        tx => {
          const row = byId.get({ id })
          if (row === undefined || (fence !== undefined && row.fence !== fence)) return null
          const decided = decide(toJob(row))
          if (decided === null) return null
          const { pause: toPause, ...fields } = decided
          const { status = row.status, error = row.error, cost = row.cost } = fields
          if (status !== row.status && !isLegal(row.status, status, row.error))
            throw new Error(`illegal transition of ${id}: ${row.status} to ${status}`)
          const moved = status !== row.status || error !== row.error || cost !== row.cost
          const next = tx
            .update(predictions)
            .set({ ...fields, updatedAt: moved ? now : row.updatedAt })
            .where(eq(predictions.id, id))
            .returning()
            .get()
          if (moved) record(tx, next, row, now)
          spend(tx, row.appId, row.createdAt, cost - row.cost)
          if (hasPlace(row) && !hasPlace(next)) leavePlace(tx, row, now)
          if (fields.begunAt === null) tx.delete(posts).where(isPost(row)).run()
          if (toPause) hold(tx, toPause, row.begunAt ?? now, now)
          if (toPause === null) release(tx, id, fields.submission === 'accepted')
          return next
        },
        { behavior: 'immediate' },
      )
      if (changed === null) return null
      ring()
      return toJob(changed)
    },
  }
}

const isCurrent = ({ createdAt }: Row, now: number) => createdAt > now - IDEMPOTENCY_LIFE

const useOf = ({ fingerprint }: Row, asked: Idempotency) =>
  fingerprint === asked.fingerprint ? ('repeated' as const) : ('conflict' as const)

const holder = (tx: Tx | Db, appId: AppId, { space, key }: Idempotency): Row | undefined =>
  tx
    .select()
    .from(predictions)
    .where(
      and(eq(predictions.appId, appId), eq(predictions.space, space), eq(predictions.idempotencyKey, key)),
    )
    .get()

function record(tx: Tx, row: Row, before: Row | null, now: number): void {
  tx.insert(events)
    .values({
      appId: row.appId,
      predictionId: row.id,
      type: before === null ? 'QUEUED' : 'STATUS_CHANGED',
      previousStatus: before?.status ?? null,
      occurredAt: now,
      standing: toStanding(row),
    })
    .run()
}

const isPost = ({ id, attempts }: Row) => and(eq(posts.predictionId, id), eq(posts.attempt, attempts))
