/**
 * The store on one SQLite file.
 */
import { randomBytes } from 'node:crypto'
import { StartupError } from '../../domain/errors.ts'
import type { DatabaseIdentity, Store, StoreOptions } from '../store.ts'
import { createAppUsage } from './app-usage.ts'
import { createAppStore } from './apps.ts'
import { type Db, openDatabase } from './connection.ts'
import { and, eq, gt } from './drizzle.ts'
import { createEventStore, createLogReader, type LogReader } from './events.ts'
import { createGroupCommit } from './group-commit.ts'
import { IN_FLIGHT, SUBMIT_STARTED, WAITING } from './predicates.ts'
import { createPredictionStore } from './predictions/write.ts'
import { createHoldStore } from './queue/holds.ts'
import { createQueueStore } from './queue/queue.ts'
import { createRestoreStore, keepHead, noticeRestore } from './restore.ts'
import { NEXT_VERSION } from './row-version.ts'
import { meta, predictions } from './schema.ts'
import { createSharedParts } from './shared-parts.ts'
import { toStartupError, withStartupErrors } from './sqlite-errors.ts'
import { createUploadStore } from './uploads.ts'
import { createWriteGate, type WriteGate } from './write-gate.ts'
import { createWriteProbe } from './write-probe.ts'

/**
 * No other gateway may open the file until this one closes it or dies.
 * @param file a path, or `:memory:`
 * @throws StartupError if the file can't be used
 */
export function openSqliteStore(file: string, notify: () => void, options: StoreOptions = {}): Store {
  const { thisProcess, ...timeouts } = options
  const { db, close, findFileFault, saveJournal } = openDatabase(file, {
    ...timeouts,
    exclusive: thisProcess !== undefined,
  })
  const gate = createWriteGate({
    findFileFault,
    onFileFault: saveJournal,
    maxLockWaitMs: thisProcess === undefined ? 0 : MAX_LOCK_WAIT_MS,
  })
  try {
    const logReader = createLogReader(db)
    if (thisProcess !== undefined)
      withStartupErrors(file, () => {
        const { gatewayStartedAt: now, isRestored: isDeclared = false } = thisProcess
        noticeRestore(db, file, logReader, { now, isDeclared })
        expireAllLeases(db, now)
      })
    const groupCommit = createGroupCommit(db, notify, gate)
    const shared = createSharedParts(db)
    const identity = createDatabaseIdentity(db, file)
    if (thisProcess !== undefined) {
      keepHeadAtStart(db, file, logReader)
      db.$client.pragma(`busy_timeout = ${RUNNING_LOCK_TIMEOUT_MS}`)
    }
    const restoreStore = createRestoreStore(db, file, logReader, shared.monthlySpend)
    return {
      ...identity,
      ...createPredictionStore(db, groupCommit, shared),
      ...throughGate(gate.run, createQueueStore(db, notify, shared), QUEUE_WRITES),
      ...throughGate(gate.runPatiently, createHoldStore(db, notify), ['addHold', 'removeHold']),
      ...throughGate(gate.run, createEventStore(db, shared, logReader), ['pruneEvents']),
      ...throughGate(gate.runPatiently, restoreStore, ['storeFindings', 'decideKeys']),
      ...throughGate(gate.runPatiently, createAppStore(db), ['createApp', 'addKey', 'pruneKeys']),
      ...throughGate(gate.run, createUploadStore(db, gate), ['pruneUploads', 'setUpstreamUrl']),
      usage: createAppUsage(db, shared.monthlySpend),
      ping: createWriteProbe(db, gate),
      toStartupError: error => toStartupError(error, file),
      async close() {
        groupCommit.flush()
        gate.close()
        try {
          if (thisProcess !== undefined) keepHead(db, file, logReader)
        } catch {
          // The head of the last time is as good: a later one only notices a copy that is seconds old.
        }
        close()
      },
    }
  } catch (error) {
    gate.close()
    close()
    throw error
  }
}

/**
 * Of a running gateway: SQLite waits so long in a try, and the event loop with it. A longer lock is waited for by the
 * write gate.
 */
const RUNNING_LOCK_TIMEOUT_MS = 5
/** A command beside the gateway writes for milliseconds; the client of an upload waits for longer. */
const MAX_LOCK_WAIT_MS = 2000

/** What workers write, apart from the changes of predictions. */
const QUEUE_WRITES = [
  'claimImageChecks',
  'claimSubmits',
  'claimPolls',
  'claimUnresolvedSubmits',
  'claimAbandonedSubmits',
  'claimCircuitProbe',
  'reschedule',
  'halfOpenCircuit',
  'followProcessClock',
] as const

/** The same part of the store, but these methods do not write while the database can't be written. */
function throughGate<Part extends object, Name extends keyof Part>(
  run: WriteGate['run'],
  part: Part,
  names: readonly Name[],
): Part {
  const gated = { ...part }
  for (const name of names) {
    const write = part[name] as (...args: unknown[]) => Promise<unknown>
    gated[name] = ((...args: unknown[]) => run(() => write(...args))) as Part[Name]
  }
  return gated
}

/** @throws StartupError if the file beside the database can't be written */
function keepHeadAtStart(db: Db, file: string, logReader: LogReader): void {
  try {
    keepHead(db, file, logReader)
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    throw new StartupError(`DATABASE_URL: ${file}.head can't be written (${code ?? message}).`)
  }
}

/** Uses one update for each index: a single statement would read every row and keep 16 MB of them in memory. */
function expireAllLeases(db: Db, now: number): void {
  db.transaction(tx => {
    for (const where of [SUBMIT_STARTED, IN_FLIGHT, and(WAITING, gt(predictions.dueAt, now))])
      tx.update(predictions)
        .set({ ...NEXT_VERSION, dueAt: 0 })
        .where(where)
        .run()
  })
}

function createDatabaseIdentity(db: Db, file: string): DatabaseIdentity {
  const readMeta = (name: string) => db.select().from(meta).where(eq(meta.name, name)).get()?.value
  const readOrCreate = (name: string, initialValue: () => string): string =>
    withStartupErrors(file, () => {
      const existing = readMeta(name)
      if (existing !== undefined) return existing
      db.insert(meta).values({ name, value: initialValue() }).onConflictDoNothing().run()
      return readMeta(name)!
    })
  const randomSecret = (name: string, bytes: number) =>
    Buffer.from(
      readOrCreate(name, () => randomBytes(bytes).toString('hex')),
      'hex',
    )
  return {
    epoch: randomSecret('epoch', 8),
    cursorKey: randomSecret('cursor_key', 16),
    webhookKey: randomSecret('webhook_key', 32),
    tokenKey: randomSecret('token_key', 32),
    bindUpstream: async upstream => readOrCreate('upstream', () => upstream),
  }
}
