/**
 * Predictions in SQLite: made once, and changed in one place.
 * Invariant: `create` and `change` write row, tags, event and spending in one transaction; no callback of a transaction is
 * async (drizzle on better-sqlite3 would commit what follows the first await outside of it).
 */
import { v7 as uuidv7 } from 'uuid'
import { type AppId, type Decide, type Draft, isLegal, type Job } from '../../../domain/prediction.ts'
import type { Bounds, Creation, Idempotency, Predictions } from '../../store.ts'
import { createRefusals } from '../app-usage.ts'
import type { Db } from '../connection.ts'
import { eq, type SQL, sql } from '../drizzle.ts'
import type { Group } from '../group-commit.ts'
import { prepare } from '../prepare.ts'
import { hasPlace } from '../queue/fair-order.ts'
import {
  decoded,
  type Raw,
  type Row,
  SAID,
  type Said,
  toJob,
  toPrediction,
  toStanding,
  WHOLE,
} from '../row-mapping.ts'
import { events, predictions } from '../schema.ts'
import type { SharedStatements } from '../shared-statements.ts'
import { createReads } from './read.ts'

const IDEMPOTENCY_LIFE = 24 * 60 * 60 * 1000

export function createPredictions(
  db: Db,
  group: Group,
  { spending, order, paces: pace }: SharedStatements,
): Predictions {
  const refusalOf = createRefusals(db, spending)
  const record = createRecord(db)
  const update = createUpdate(db)
  const byId = prepare<Raw<Row>>(db, sql`select ${WHOLE} from predictions where id = @id`)
  const byKey = prepare<Raw<Row>>(
    db,
    sql`
    select ${WHOLE} from predictions
    where app_id = @appId and space = @space and idempotency_key = @key`,
  )
  const tag = prepare(
    db,
    sql`insert or ignore into tagged select @appId, value, @now, @id from json_each(@tags)`,
  )
  const forget = prepare(
    db,
    sql`update predictions set idempotency_key = null, fingerprint = null where id = @id`,
  )
  const forgetPost = prepare(db, sql`delete from posts where prediction_id = @id and attempt = @attempts`)
  const words = db.insert(predictions).values({
    ...named(
      'id',
      'appId',
      'model',
      'imageUrl',
      'uploadId',
      'prompt',
      'negativePrompt',
      'duration',
      'enablePromptExpansion',
      'seed',
      'tags',
      'metadata',
      'retryOf',
      'space',
      'token',
      'idempotencyKey',
      'fingerprint',
      'cost',
    ),
    status: 'QUEUED',
    outputs: [],
    ...{ createdAt: sql`@now`, updatedAt: sql`@now`, dueAt: sql`@now` },
  })
  const insert = prepare<Raw>(db, sql`${words.getSQL()} returning ${SAID}`)

  const holder = (appId: AppId, { space, key }: Idempotency): Row | undefined => {
    const raw = byKey.get({ appId, space, key })
    return raw && decoded(raw)
  }

  function create(
    { appId, input, metadata, cost, ...rest }: Draft & { cost: number },
    idempotency: Idempotency | null,
    now: number,
    bounds: Bounds | undefined,
  ): Creation {
    const held = idempotency && holder(appId, idempotency)
    if (held && isCurrent(held, now))
      return { kind: useOf(held, idempotency), prediction: toPrediction(held) }
    const refusal = refusalOf({ appId, token: rest.token, cost }, bounds, now)
    if (refusal !== null) return { kind: 'refused', refusal }
    if (held) forget.run({ id: held.id })
    order.join(appId, now)
    const id = uuidv7()
    const tags = JSON.stringify(rest.tags)
    const raw = insert.get({
      id,
      appId,
      ...rest,
      ...input,
      enablePromptExpansion: Number(input.enablePromptExpansion),
      tags,
      metadata: metadata === null ? null : JSON.stringify(metadata),
      cost,
      idempotencyKey: idempotency?.key ?? null,
      fingerprint: idempotency?.fingerprint ?? null,
      now,
    })
    if (rest.tags.length > 0) tag.run({ appId, tags, now, id })
    const row = decoded<Said>(raw!)
    spending.add(appId, now, cost)
    record(row, null, now)
    return { kind: 'created', prediction: toPrediction(row) }
  }

  function change(id: string, decide: Decide, now: number, fence: number | undefined): Job | null {
    const raw = byId.get({ id })
    if (raw === undefined || (fence !== undefined && raw.fence !== fence)) return null
    const row = decoded(raw)
    const decided = decide(toJob(row))
    if (decided === null) return null
    const { pause, ...fields } = decided
    const { status = row.status, error = row.error, cost = row.cost } = fields
    if (status !== row.status && !isLegal(row.status, status, row.error))
      throw new Error(`illegal transition of ${id}: ${row.status} to ${status}`)
    const moved = status !== row.status || error !== row.error || cost !== row.cost
    const next = update(id, { ...fields, updatedAt: moved ? now : row.updatedAt })
    if (moved) record(next, row, now)
    spending.add(row.appId, row.createdAt, cost - row.cost)
    if (hasPlace(row) && !hasPlace(next)) order.leave(row, now)
    if (fields.begunAt === null) forgetPost.run({ id, attempts: row.attempts })
    if (pause) pace.hold(pause, row.begunAt ?? now, now)
    if (pause === null) pace.release(id, fields.submission === 'accepted')
    return toJob(next)
  }

  return {
    ...createReads(db),

    create: (draft, idempotency, now, bounds) =>
      group.write(
        () => create(draft, idempotency, now, bounds),
        ({ kind }) => kind === 'created',
      ),

    change: (id, decide, now, fence) =>
      group.write(
        () => change(id, decide, now, fence),
        job => job !== null,
      ),

    async repeated(appId, idempotency, now) {
      const held = holder(appId, idempotency)
      if (held === undefined || !isCurrent(held, now)) return null
      return { kind: useOf(held, idempotency), prediction: toPrediction(held) }
    },
  }
}

const isCurrent = ({ createdAt }: Row, now: number) => createdAt > now - IDEMPOTENCY_LIFE

const useOf = ({ fingerprint }: Row, asked: Idempotency) =>
  fingerprint === asked.fingerprint ? ('repeated' as const) : ('conflict' as const)

const named = <Name extends string>(...names: Name[]) =>
  Object.fromEntries(names.map(name => [name, sql.raw(`@${name}`)])) as Record<Name, SQL>

function createRecord(db: Db) {
  const words = db
    .insert(events)
    .values(named('appId', 'predictionId', 'type', 'previousStatus', 'occurredAt', 'standing'))
  const insert = prepare(db, words.getSQL())

  return (row: Said, before: Row | null, now: number): void =>
    void insert.run({
      appId: row.appId,
      predictionId: row.id,
      type: before === null ? 'QUEUED' : 'STATUS_CHANGED',
      previousStatus: before?.status ?? null,
      occurredAt: now,
      standing: JSON.stringify(toStanding(row)),
    })
}

/** One statement for each set of columns: what is decided knows a score of them. */
function createUpdate(db: Db) {
  const settingEach = (names: string[]) =>
    db
      .update(predictions)
      .set(Object.fromEntries(names.map(name => [name, given(name as keyof Row)])))
      .where(eq(predictions.id, sql.placeholder('id')))
      .returning()
      .prepare()
  const given = (name: keyof Row) => sql`${sql.param(sql.placeholder(name), predictions[name])}`
  const known = new Map<string, ReturnType<typeof settingEach>>()

  return (id: string, fields: Partial<Row>): Row => {
    const names = Object.keys(fields)
    const shape = names.join()
    const update = known.get(shape) ?? settingEach(names)
    known.set(shape, update)
    return update.get({ ...fields, id })
  }
}
