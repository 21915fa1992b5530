/**
 * Predictions in SQLite: made once, changed in one place, read by their app.
 * Invariant: `create` and `change` write row and event in one transaction; no callback of a transaction is async
 * (drizzle on better-sqlite3 would commit what follows the first await outside of it).
 */
import { and, asc, desc, eq, gt, inArray, lt, lte, type SQL, sql } from 'drizzle-orm'
import { v7 as uuidv7 } from 'uuid'
import type { Filter } from '../../filter.ts'
import { type AppId, isLegal } from '../../prediction.ts'
import type { Idempotency, Place, Predictions } from '../store.ts'
import type { Db, Tx } from './database.ts'
import { hold, release } from './pace.ts'
import { type Row, toJob, toPrediction, toStanding } from './rows.ts'
import { COMPLETED, events, posts, predictions, WAITING } from './tables.ts'

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
    async create(draft, idempotency, now) {
      const { appId, model, input, tags, metadata, retryOf, cost } = draft
      const creation = db.transaction(
        tx => {
          const held = idempotency && holder(tx, appId, idempotency.key)
          if (held && isCurrent(held, now)) return { kind: useOf(held, idempotency), row: held }
          if (held)
            tx.update(predictions)
              .set({ idempotencyKey: null, fingerprint: null })
              .where(eq(predictions.id, held.id))
              .run()
          const row = tx
            .insert(predictions)
            .values({
              id: uuidv7(),
              appId,
              model,
              ...input,
              tags,
              metadata,
              retryOf,
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
          record(tx, row, null, now)
          return { kind: 'created', row } as const
        },
        { behavior: 'immediate' },
      )
      if (creation.kind === 'created') ring()
      return { kind: creation.kind, prediction: toPrediction(creation.row) }
    },

    async repeated(appId, idempotency, now) {
      const held = holder(db, appId, idempotency.key)
      if (held === undefined || !isCurrent(held, now)) return null
      return { kind: useOf(held, idempotency), prediction: toPrediction(held) }
    },

    async get(appId, id) {
      const row = owned.get({ id, appId })
      return row ? toPrediction(row) : null
    },

    async getMany(appId, ids) {
      const rows = db
        .select()
        .from(predictions)
        .where(and(eq(predictions.appId, appId), inArray(predictions.id, [...ids])))
        .all()
      const found = new Map(rows.map(row => [row.id, toPrediction(row)]))
      return ids.map(id => found.get(id) ?? null)
    },

    async list(appId, { limit, backward, after, before, filter }) {
      const direction = backward ? asc : desc
      const rows = db
        .select()
        .from(predictions)
        .where(
          and(
            eq(predictions.appId, appId),
            after ? sql`${place} < ${at(after)}` : undefined,
            before ? sql`${place} > ${at(before)}` : undefined,
            ...passes(filter),
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

    async queuePositions(appId, ids) {
      const rows = db.all<{ id: string; position: number }>(sql`
        select id, (
          select count(*) from predictions ahead
          where ahead.status = 'QUEUED' and ahead.submission = 'none'
            and (ahead.created_at, ahead.id) <= (predictions.created_at, predictions.id)
        ) as position
        from predictions
        where ${eq(predictions.appId, appId)} and ${inArray(predictions.id, [...ids])} and ${WAITING}`)
      const found = new Map(rows.map(row => [row.id, row.position]))
      return ids.map(id => found.get(id) ?? null)
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

const holder = (tx: Tx | Db, appId: AppId, key: string): Row | undefined =>
  tx
    .select()
    .from(predictions)
    .where(and(eq(predictions.appId, appId), eq(predictions.idempotencyKey, key)))
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

const place = sql`(${predictions.createdAt}, ${predictions.id})`
const at = ({ createdAt, id }: Place): SQL => sql`(${createdAt}, ${id})`

/** The same meaning as `matches` in filter.ts; a property test holds the two together. */
const passes = (filter: Filter): (SQL | undefined)[] => [
  filter.ids && inArray(predictions.id, [...filter.ids]),
  filter.statuses && inArray(predictions.status, [...filter.statuses]),
  filter.models && inArray(predictions.model, [...filter.models]),
  filter.tags &&
    sql`exists (select 1 from json_each(${predictions.tags}) where value in ${filter.tags.length > 0 ? [...filter.tags] : sql`()`})`,
  filter.createdAfter === undefined ? undefined : gt(predictions.createdAt, filter.createdAfter),
  filter.createdBefore === undefined ? undefined : lt(predictions.createdAt, filter.createdBefore),
]
