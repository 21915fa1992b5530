/**
 * Creates and changes predictions.
 * Invariant: `create` and `change` write row, tags, event and monthly spend in one transaction. Transaction callbacks
 * are never async: drizzle on better-sqlite3 would commit what follows the first await outside of the transaction.
 */
import { v7 as uuidv7 } from 'uuid'
import {
  type AppId,
  type Draft,
  isLegalTransition,
  type Job,
  type Transition,
  toPredictionState,
} from '../../../domain/prediction.ts'
import { DAY_MS } from '../../../domain/time.ts'
import type { CreateResult, Idempotency, PredictionStore, TokenLimits } from '../../store.ts'
import type { Db } from '../connection.ts'
import { eq, type SQL, sql } from '../drizzle.ts'
import type { GroupCommit } from '../group-commit.ts'
import { createLimitChecks } from '../limit-checks.ts'
import { prepare } from '../prepare.ts'
import { hasSlot } from '../queue/fair-order.ts'
import {
  ALL_COLUMNS,
  decodeJsonColumns,
  type PredictionRow,
  PUBLIC_COLUMNS,
  type PublicRow,
  type SqliteRow,
  toJob,
  toPrediction,
} from '../row-mapping.ts'
import { events, predictions } from '../schema.ts'
import type { SharedParts } from '../shared-parts.ts'
import { createPredictionReads } from './read.ts'

const IDEMPOTENCY_TTL_MS = DAY_MS

export function createPredictionStore(
  db: Db,
  groupCommit: GroupCommit,
  { findPrediction, monthlySpend, fairOrder, submitThrottle }: SharedParts,
): PredictionStore {
  const checkLimits = createLimitChecks(db, monthlySpend)
  const recordEvent = createEventRecorder(db)
  const updatePrediction = createPredictionUpdater(db)
  const byId = prepare<SqliteRow<PredictionRow>>(
    db,
    sql`select ${ALL_COLUMNS} from predictions where id = @id`,
  )
  const byIdempotencyKey = prepare<SqliteRow<PredictionRow>>(
    db,
    sql`
    select ${ALL_COLUMNS} from predictions
    where app_id = @appId and restriction_key = @restrictionKey and idempotency_key = @key`,
  )
  const insertTags = prepare(
    db,
    sql`insert or ignore into prediction_tags select @appId, value, @now, @id from json_each(@tags)`,
  )
  const forgetIdempotencyKey = prepare(
    db,
    sql`update predictions set version = version + 1, idempotency_key = null, fingerprint = null where id = @id`,
  )
  const deleteSubmitAttempt = prepare(
    db,
    sql`delete from submit_attempts where prediction_id = @id and attempt = @attempt`,
  )
  const insertQuery = db.insert(predictions).values({
    ...namedParameters(
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
      'restrictionKey',
      'tokenId',
      'idempotencyKey',
      'fingerprint',
      'cost',
    ),
    status: 'QUEUED',
    outputs: [],
    ...{ createdAt: sql`@now`, updatedAt: sql`@now`, dueAt: sql`@now` },
  })
  const insertPrediction = prepare<SqliteRow>(db, sql`${insertQuery.getSQL()} returning ${PUBLIC_COLUMNS}`)

  const findKeyHolder = (appId: AppId, { restrictionKey, key }: Idempotency): PredictionRow | undefined => {
    const raw = byIdempotencyKey.get({ appId, restrictionKey, key })
    return raw && decodeJsonColumns(raw)
  }

  function create(
    { appId, input, metadata, cost, ...rest }: Draft & { cost: number },
    idempotency: Idempotency | null,
    now: number,
    tokenLimits: TokenLimits | undefined,
  ): CreateResult {
    const keyHolder = idempotency && findKeyHolder(appId, idempotency)
    if (keyHolder && isKeyValid(keyHolder, now))
      return { kind: matchKind(keyHolder, idempotency), prediction: toPrediction(keyHolder) }
    const violation = checkLimits({ appId, tokenId: rest.tokenId, cost }, tokenLimits, now)
    if (violation !== null) return { kind: 'refused', violation }
    if (keyHolder) forgetIdempotencyKey.run({ id: keyHolder.id })
    fairOrder.onBacklogStart(appId, now)
    const id = uuidv7()
    const tags = JSON.stringify(rest.tags)
    const raw = insertPrediction.get({
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
    if (rest.tags.length > 0) insertTags.run({ appId, tags, now, id })
    const row = decodeJsonColumns<PublicRow>(raw!)
    monthlySpend.add(appId, now, cost)
    recordEvent(row, null, now)
    return { kind: 'created', prediction: toPrediction(row) }
  }

  function change(id: string, transition: Transition, now: number, fence: number | undefined): Job | null {
    const raw = byId.get({ id })
    if (raw === undefined || (fence !== undefined && raw.fence !== fence)) return null
    const row = decodeJsonColumns(raw)
    const stateChange = transition(toJob(row))
    if (stateChange === null) return null
    const { submitCircuit, ...fields } = stateChange
    const { status = row.status, error = row.error, cost = row.cost } = fields
    if (status !== row.status && !isLegalTransition(row.status, status, row.error))
      throw new Error(`illegal transition of ${id}: ${row.status} to ${status}`)
    const hasVisibleChange = status !== row.status || error !== row.error || cost !== row.cost
    const next = updatePrediction(id, {
      ...fields,
      version: row.version + 1,
      updatedAt: hasVisibleChange ? now : row.updatedAt,
    })
    if (hasVisibleChange) recordEvent(next, row, now)
    monthlySpend.add(row.appId, row.createdAt, cost - row.cost)
    if (hasSlot(row) && !hasSlot(next)) fairOrder.onSlotReleased(row, now)
    if (fields.submitStartedAt === null) deleteSubmitAttempt.run({ id, attempt: row.submitAttempts })
    if (submitCircuit) submitThrottle.recordFailure(submitCircuit, row.submitStartedAt ?? now, now)
    if (submitCircuit === null) submitThrottle.recordAnswer(id, fields.submission === 'accepted')
    return toJob(next)
  }

  return {
    ...createPredictionReads(db, findPrediction),

    create: (draft, idempotency, now, tokenLimits) =>
      groupCommit.write(
        () => create(draft, idempotency, now, tokenLimits),
        ({ kind }) => kind === 'created',
      ),

    change: (id, transition, now, fence) =>
      groupCommit.write(
        () => change(id, transition, now, fence),
        job => job !== null,
      ),

    async findByIdempotencyKey(appId, idempotency, now) {
      const keyHolder = findKeyHolder(appId, idempotency)
      if (keyHolder === undefined || !isKeyValid(keyHolder, now)) return null
      return { kind: matchKind(keyHolder, idempotency), prediction: toPrediction(keyHolder) }
    },
  }
}

const isKeyValid = ({ createdAt }: PredictionRow, now: number) => createdAt > now - IDEMPOTENCY_TTL_MS

const matchKind = ({ fingerprint }: PredictionRow, requested: Idempotency) =>
  fingerprint === requested.fingerprint ? ('repeated' as const) : ('conflict' as const)

const namedParameters = <Name extends string>(...names: Name[]) =>
  Object.fromEntries(names.map(name => [name, sql.raw(`@${name}`)])) as Record<Name, SQL>

function createEventRecorder(db: Db) {
  const insertQuery = db
    .insert(events)
    .values(namedParameters('appId', 'predictionId', 'type', 'previousStatus', 'occurredAt', 'state'))
  const insertEvent = prepare(db, insertQuery.getSQL())

  return (row: PublicRow, before: PredictionRow | null, now: number): void =>
    void insertEvent.run({
      appId: row.appId,
      predictionId: row.id,
      type: before === null ? 'QUEUED' : 'STATUS_CHANGED',
      previousStatus: before?.status ?? null,
      occurredAt: now,
      state: JSON.stringify(toPredictionState(row)),
    })
}

/** Prepares one statement for each set of columns; transitions produce about twenty sets. */
function createPredictionUpdater(db: Db) {
  const prepareUpdate = (names: string[]) =>
    db
      .update(predictions)
      .set(Object.fromEntries(names.map(name => [name, boundValue(name as keyof PredictionRow)])))
      .where(eq(predictions.id, sql.placeholder('id')))
      .returning()
      .prepare()
  const boundValue = (name: keyof PredictionRow) =>
    sql`${sql.param(sql.placeholder(name), predictions[name])}`
  const statements = new Map<string, ReturnType<typeof prepareUpdate>>()

  return (id: string, fields: Partial<PredictionRow>): PredictionRow => {
    const names = Object.keys(fields)
    const columnsKey = names.join()
    const update = statements.get(columnsKey) ?? prepareUpdate(names)
    statements.set(columnsKey, update)
    return update.get({ ...fields, id })
  }
}
