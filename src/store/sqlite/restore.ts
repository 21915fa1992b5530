/**
 * Notices that the file was replaced by an earlier copy of itself, and holds what the copy may submit a second time.
 * A copy is noticed by the row of `meta` that the backup command puts into it, or by the head of the log, which is kept in
 * a small file beside the database and is not part of any copy of it.
 */
import { createHash, randomBytes } from 'node:crypto'
import { closeSync, fsyncSync, openSync, readFileSync, realpathSync, renameSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'
import { z } from 'zod'
import { startOfUtcMonth } from '../../domain/app-limits.ts'
import type { HoldReason } from '../../domain/hold.ts'
import type { AppId, LogPosition } from '../../domain/prediction.ts'
import type { LostTime } from '../../domain/restore.ts'
import type { RestoreStore } from '../store.ts'
import type { MonthlySpend } from './app-usage.ts'
import { IS_COPY } from './backup.ts'
import type { Db } from './connection.ts'
import { and, asc, eq, gte, lte, ne, sql } from './drizzle.ts'
import type { LogReader } from './events.ts'
import { UNANSWERED, WAITING } from './predicates.ts'
import { toJob } from './row-mapping.ts'
import { apiKeys, events, holds, images, meta, predictions, submitAttempts } from './schema.ts'

const LOST_TIMES = 'lost_times'

const headSchema = z.object({ database: z.string(), seq: z.number(), mark: z.number().nullable() })

/** Call it under the lock of a gateway, before the database's identity is read. */
export function noticeRestore(
  db: Db,
  file: string,
  logReader: LogReader,
  options: { now: number; isDeclared: boolean },
): void {
  if (options.isDeclared || readMeta(db, IS_COPY) !== undefined || isBehindHeadFile(db, file, logReader))
    beginRestore(db, options.now)
}

/** Writes the head of the log into the file beside the database. */
export function keepHead(db: Db, file: string, { readHead }: LogReader): void {
  const path = headPath(file)
  if (path === null) return
  const temporary = `${path}.new`
  const descriptor = openSync(temporary, 'w', 0o600)
  try {
    writeSync(descriptor, `${JSON.stringify({ database: databaseId(db), ...readHead() })}\n`)
    fsyncSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
  renameSync(temporary, path)
  const folder = openSync(dirname(path), 'r')
  fsyncSync(folder)
  closeSync(folder)
}

const headPath = (file: string) => (file === ':memory:' ? null : `${realpathSync(file)}.head`)

/** The same for all copies of a database, and secret in none. Null before its first start. */
function databaseId(db: Db): string | null {
  const key = readMeta(db, 'webhook_key')
  return key === undefined ? null : createHash('sha256').update(key).digest('hex').slice(0, 16)
}

/** Whether the log has lost events that the file beside it knows. A file of another database says nothing. */
function isBehindHeadFile(db: Db, file: string, { readHead, isSameHistory }: LogReader): boolean {
  const head = readHeadFile(file)
  if (head === null || head.database !== databaseId(db)) return false
  return head.seq > readHead().seq || !isSameHistory(head)
}

function readHeadFile(file: string): (LogPosition & { database: string }) | null {
  const path = headPath(file)
  if (path === null) return null
  try {
    return headSchema.parse(JSON.parse(readFileSync(path, 'utf8')))
  } catch {
    return null
  }
}

const readMeta = (db: Db, name: string) => db.select().from(meta).where(eq(meta.name, name)).get()?.value

function writeMeta(db: Db, name: string, value: string): void {
  db.insert(meta).values({ name, value }).onConflictDoUpdate({ target: meta.name, set: { value } }).run()
}

/** A new epoch, no access token of before, all submits held, and each waiting job held by itself. */
function beginRestore(db: Db, now: number): void {
  db.transaction(
    () => {
      // A later commit of the lost time had a later time, unless the clock was set.
      const [lastEvent] = db.select({ at: sql<number | null>`max(occurred_at)` }).from(events).all()
      const [lastPost] = db
        .select({ at: sql<number | null>`max(submit_started_at)` })
        .from(submitAttempts)
        .all()
      const from = Math.min(now, Math.max(lastEvent?.at ?? 0, lastPost?.at ?? 0) || now)
      writeMeta(db, 'epoch', randomBytes(8).toString('hex'))
      writeMeta(db, 'token_key', randomBytes(32).toString('hex'))
      db.delete(meta).where(eq(meta.name, IS_COPY)).run()
      db.run(sql`
        insert into holds (prediction_id, app_id, model, reason, since) values ('', '', '', 'restored', ${now})
        on conflict do update set reason = excluded.reason, since = excluded.since`)
      db.run(sql`
        insert into holds (prediction_id, app_id, model, reason, since)
        select id, '', '', 'restored', ${now} from predictions where ${WAITING}
        on conflict do update set reason = excluded.reason, since = excluded.since`)
      writeLostTimes(db, [...readLostTimes(db), { from, to: now, areKeysDecided: false, report: null }])
    },
    { behavior: 'immediate' },
  )
}

const readLostTimes = (db: Db): LostTime[] => JSON.parse(readMeta(db, LOST_TIMES) ?? '[]')
const writeLostTimes = (db: Db, lostTimes: readonly LostTime[]) =>
  writeMeta(db, LOST_TIMES, JSON.stringify(lostTimes))

export function createRestoreStore(
  db: Db,
  file: string,
  logReader: LogReader,
  monthlySpend: Pick<MonthlySpend, 'add'>,
): RestoreStore {
  const namesPrediction = ne(holds.predictionId, '')
  return {
    lostTimes: async () => readLostTimes(db),

    heldJobs: async () =>
      db
        .select()
        .from(holds)
        .innerJoin(predictions, eq(predictions.id, holds.predictionId))
        .where(
          and(
            namesPrediction,
            sql`"predictions"."status" = 'QUEUED'`,
            sql`"predictions"."submission" = 'none'`,
          ),
        )
        .orderBy(asc(predictions.createdAt), asc(predictions.id))
        .all()
        .map(row => ({ job: toJob(row.predictions), reason: row.holds.reason, since: row.holds.since })),

    unansweredJobs: async startedBefore =>
      db
        .select()
        .from(predictions)
        .where(and(UNANSWERED, lte(predictions.submitStartedAt, startedBefore)))
        .all()
        .map(toJob),

    findAppByUpstreamImage: async url =>
      (db.select({ appId: images.appId }).from(images).where(eq(images.upstreamUrl, url)).get()
        ?.appId as AppId) ?? null,

    async storeFindings({ findings, corrections, report }) {
      db.transaction(
        () => {
          const lostTimes = readLostTimes(db)
          if (lostTimes.every(lostTime => lostTime.report !== null)) return
          for (const { id, reason } of findings) setReason(id, reason)
          for (const { appId, createdAt, amount } of corrections)
            monthlySpend.add.run({ appId, month: startOfUtcMonth(createdAt), amount })
          writeLostTimes(
            db,
            lostTimes.map(lostTime => ({ ...lostTime, report: lostTime.report ?? report })),
          )
        },
        { behavior: 'immediate' },
      )
    },

    async decideKeys(revokeSince) {
      return db.transaction(
        () => {
          const revoked =
            revokeSince === null
              ? []
              : db
                  .delete(apiKeys)
                  .where(gte(apiKeys.createdAt, revokeSince))
                  .returning({ prefix: apiKeys.prefix })
                  .all()
          writeLostTimes(
            db,
            readLostTimes(db).map(lostTime => ({ ...lostTime, areKeysDecided: true })),
          )
          return revoked.map(({ prefix }) => prefix)
        },
        { behavior: 'immediate' },
      )
    },

    keepHead: async () => keepHead(db, file, logReader),
  }

  function setReason(id: string, reason: HoldReason): void {
    db.update(holds).set({ reason }).where(eq(holds.predictionId, id)).run()
  }
}
