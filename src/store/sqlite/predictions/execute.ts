/**
 * Carries out the writes of a plan. It decides nothing.
 * Invariant: an update of a row with another version than the planned one throws. Under the write lock that is a bug.
 */
import type { ChangedFields, PlannedWrite } from '../../../domain/plan.ts'
import type { Db } from '../connection.ts'
import { getTableColumns, type SQL, sql } from '../drizzle.ts'
import { prepare } from '../prepare.ts'
import { NEXT_VERSION } from '../row-version.ts'
import { events, predictions } from '../schema.ts'
import type { SharedParts } from '../shared-parts.ts'

type WriteOf<Kind extends PlannedWrite['kind']> = Extract<PlannedWrite, { kind: Kind }>

/** Runs the writes in order. Call it in a transaction. */
type ExecuteWrites = (writes: readonly PlannedWrite[]) => void

export function createExecuteWrites(
  db: Db,
  {
    monthlySpend,
    fairOrder,
    submitThrottle,
  }: Pick<SharedParts, 'monthlySpend' | 'fairOrder' | 'submitThrottle'>,
): ExecuteWrites {
  const insertEvent = prepare(
    db,
    db
      .insert(events)
      .values({
        ...namedParameters('appId', 'predictionId', 'type', 'previousStatus', 'occurredAt', 'state'),
        mark: RANDOM_MARK,
      })
      .getSQL(),
  )
  const deleteSubmitAttempt = prepare(
    db,
    sql`delete from submit_attempts where prediction_id = @predictionId and attempt = @attempt`,
  )
  const updatePrediction = createUpdatePrediction(db)

  const execute: { [Kind in PlannedWrite['kind']]: (write: WriteOf<Kind>) => void } = {
    insertPrediction: createInsertPrediction(db),
    updatePrediction: ({ id, version, fields }) => updatePrediction(id, version, fields),
    forgetIdempotencyKey: ({ id, version }) =>
      updatePrediction(id, version, { idempotencyKey: null, fingerprint: null }),
    insertEvent: ({ event }) => void insertEvent.run({ ...event, state: JSON.stringify(event.state) }),
    startBacklog: ({ appId, now }) => void fairOrder.startBacklog.run({ appId, now }),
    releaseSlot: ({ appId, heldMs }) => fairOrder.releaseSlot(appId, heldMs),
    addSpend: ({ appId, month, amount }) => void monthlySpend.add.run({ appId, month, amount }),
    deleteSubmitAttempt: write => void deleteSubmitAttempt.run(write),
    openSubmitCircuit: ({ circuit }) => submitThrottle.openCircuit(circuit),
    closeSubmitCircuit: ({ version }) => submitThrottle.closeCircuit(version),
    setConcurrencyLimit: ({ limit }) => submitThrottle.setLimit(limit),
  }
  const executeOne = <Kind extends PlannedWrite['kind']>(write: WriteOf<Kind>) =>
    (execute[write.kind] as (write: WriteOf<Kind>) => void)(write)

  return writes => {
    for (const write of writes) executeOne(write)
  }
}

/** 32 random bits; 0 would be no mark. */
const RANDOM_MARK = sql.raw('max(1, random() & 4294967295)')

const namedParameters = <Name extends string>(...names: Name[]) =>
  Object.fromEntries(names.map(name => [name, sql.raw(`@${name}`)])) as Record<Name, SQL>

function createInsertPrediction(db: Db): (write: WriteOf<'insertPrediction'>) => void {
  const names = Object.keys(getTableColumns(predictions)) as (keyof typeof predictions.$inferInsert)[]
  const insertPrediction = prepare(
    db,
    db
      .insert(predictions)
      .values(namedParameters(...names))
      .getSQL(),
  )
  const insertTags = prepare(
    db,
    sql`insert or ignore into prediction_tags select @appId, value, @createdAt, @id from json_each(@tags)`,
  )

  return ({ job: { input, ...job }, idempotency }) => {
    const { id, appId, createdAt, metadata } = job
    const tags = JSON.stringify(job.tags)
    insertPrediction.run({
      ...job,
      ...input,
      enablePromptExpansion: Number(input.enablePromptExpansion),
      tags,
      metadata: metadata === null ? null : JSON.stringify(metadata),
      outputs: JSON.stringify(job.outputs),
      idempotencyKey: idempotency?.key ?? null,
      fingerprint: idempotency?.fingerprint ?? null,
    })
    if (job.tags.length > 0) insertTags.run({ appId, tags, createdAt, id })
  }
}

type UpdatedFields = ChangedFields & Partial<Record<'idempotencyKey' | 'fingerprint', null>>

/** Prepares one statement for each set of columns; transitions produce about twenty sets. */
function createUpdatePrediction(db: Db): (id: string, version: number, fields: UpdatedFields) => void {
  const prepareUpdate = (names: string[]) =>
    prepare(
      db,
      db
        .update(predictions)
        .set({ ...namedParameters(...names), ...NEXT_VERSION })
        .where(sql`id = @id and version = @version`)
        .getSQL(),
    )
  const statements = new Map<string, ReturnType<typeof prepareUpdate>>()

  return (id, version, fields) => {
    const names = Object.keys(fields)
    const columnsKey = names.join()
    const update = statements.get(columnsKey) ?? prepareUpdate(names)
    statements.set(columnsKey, update)
    const { outputs } = fields
    const encoded = outputs === undefined ? fields : { ...fields, outputs: JSON.stringify(outputs) }
    if (update.run({ ...encoded, id, version }).changes !== 1)
      throw new Error(`prediction ${id} does not have the version ${version}`)
  }
}
