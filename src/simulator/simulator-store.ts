/**
 * The simulator's database: jobs, pending webhooks, files, and the port in its output URLs.
 */
import { chmodSync, closeSync, openSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import Database from 'better-sqlite3'
import type { SimulatedJob } from './job.ts'

// Drizzle's ES modules load the index of every dialect: 180 MB and 250 ms more (measured). Its CommonJS build does not.
const require = createRequire(import.meta.url)
const { and, asc, desc, eq, gt, isNull, lt, lte, sql } =
  require('drizzle-orm') as typeof import('drizzle-orm')
const { drizzle } = require('drizzle-orm/better-sqlite3') as typeof import('drizzle-orm/better-sqlite3')
const { blob, index, integer, sqliteTable, text } =
  require('drizzle-orm/sqlite-core') as typeof import('drizzle-orm/sqlite-core')

const jobs = sqliteTable(
  'jobs',
  {
    id: text().primaryKey(),
    createdAt: integer().notNull(),
    job: text({ mode: 'json' }).$type<SimulatedJob>().notNull(),
  },
  table => [index('jobs_by_creation').on(table.createdAt)],
)
const webhooks = sqliteTable('webhooks', {
  id: text().primaryKey(),
  url: text().notNull(),
  tries: integer().notNull(),
  dueAt: integer(),
})
const files = sqliteTable('files', {
  id: text().primaryKey(),
  headers: text({ mode: 'json' }).$type<Record<string, string>>().notNull(),
  size: integer().notNull(),
  createdAt: integer().notNull(),
  data: blob({ mode: 'buffer' }),
})
const ports = sqliteTable('ports', { only: integer().primaryKey(), port: integer().notNull() })

export interface PendingWebhook {
  /** The job's id. */
  id: string
  url: string
  /** Attempts so far. */
  tries: number
}

/** A file that was uploaded, or that has a ticket. */
export interface StoredFile {
  id: string
  /** Headers of its PUT. */
  headers: Record<string, string>
  size: number
  createdAt: number
  data: Buffer | null
}

export interface SimulatorStore {
  /** Adds a job, and its webhook if its end sends one. */
  add(job: SimulatedJob, webhook?: { url: string; dueAt: number }): void
  get(id: string): SimulatedJob | null
  /** Jobs created between `after` and `before`, newest first, read in pages. */
  newest(after: number, before: number, model?: string): Generator<SimulatedJob>
  /** Creation times of jobs created after `after`, oldest first. */
  acceptedAfter(after: number): number[]
  /** End times of jobs that have not ended, soonest first. */
  endingAfter(now: number): number[]
  hasPendingWebhook(id: string): boolean
  /** Makes webhooks that an earlier process had claimed due again. */
  reclaimWebhooks(): void
  /** Claims due webhooks. Each is due again only after `rescheduleWebhook`. */
  claimDueWebhooks(now: number): PendingWebhook[]
  /** When the next webhook is due; null if no webhook waits. */
  nextWebhookDueAt(): number | null
  rescheduleWebhook(id: string, dueAt: number, tries: number): void
  deleteWebhook(id: string): void
  addFile(file: StoredFile): void
  putFile(id: string, data: Buffer): void
  file(id: string): StoredFile | null
  /** Port of the last start; null at the first start. */
  port(): number | null
  savePort(port: number): void
  close(): void
}

const ROWS_PER_READ = 200
const END_TIME = sql<number>`created_at + (job ->> '$.plan.totalMs')`

/** Creates an empty file that only its owner can read: SQLite gives the files beside it the same mode. */
function createPrivateFile(file: string): void {
  try {
    closeSync(openSync(file, 'wx', 0o600))
  } catch {
    // It exists, or SQLite reports what fails.
  }
}

/** Takes files of an earlier version away from the group and from others: jobs have prompts, and files are images. */
function makePrivate(file: string): void {
  for (const path of [file, `${file}-wal`, `${file}-shm`]) {
    const mode = statSync(path, { throwIfNoEntry: false })?.mode
    if (mode === undefined || (mode & 0o077) === 0) continue
    try {
      chmodSync(path, 0o600)
    } catch {
      // Of another owner, or on a file system without modes.
    }
  }
}

/** @param file a path, or `:memory:` */
export function openSimulatorStore(file: string): SimulatorStore {
  if (file !== ':memory:') createPrivateFile(file)
  const client = new Database(file)
  client.pragma('journal_mode = WAL')
  if (file !== ':memory:') makePrivate(file)
  const db = drizzle(client, { casing: 'snake_case' })
  db.run(
    sql`create table if not exists jobs (id text primary key, created_at integer not null, job text not null)`,
  )
  db.run(sql`create index if not exists jobs_by_creation on jobs (created_at)`)
  db.run(
    sql`create table if not exists webhooks (id text primary key, url text not null, tries integer not null, due_at integer)`,
  )
  db.run(sql`create index if not exists webhooks_by_due on webhooks (due_at)`)
  db.run(
    sql`create table if not exists files (id text primary key, headers text not null, size integer not null, created_at integer not null, data blob)`,
  )
  db.run(sql`create table if not exists ports (only integer primary key, port integer not null)`)

  return {
    add: (job, webhook) =>
      db.transaction(tx => {
        tx.insert(jobs).values({ id: job.id, createdAt: job.createdAt, job }).run()
        if (webhook)
          tx.insert(webhooks)
            .values({ id: job.id, tries: 0, ...webhook })
            .run()
      }),
    get: id => db.select().from(jobs).where(eq(jobs.id, id)).get()?.job ?? null,
    *newest(after, before, model) {
      const conditions = and(
        gt(jobs.createdAt, after),
        lt(jobs.createdAt, before),
        model === undefined ? undefined : sql`job ->> 'model' = ${model}`,
      )
      const newestFirst = db
        .select()
        .from(jobs)
        .where(conditions)
        .orderBy(desc(jobs.createdAt), desc(jobs.id))
        .limit(ROWS_PER_READ)
      for (let offset = 0, read = ROWS_PER_READ; read === ROWS_PER_READ; offset += read) {
        const rows = newestFirst.offset(offset).all()
        read = rows.length
        for (const row of rows) yield row.job
      }
    },
    acceptedAfter: after =>
      db
        .select({ at: jobs.createdAt })
        .from(jobs)
        .where(gt(jobs.createdAt, after))
        .orderBy(asc(jobs.createdAt))
        .all()
        .map(({ at }) => at),
    endingAfter: now =>
      db
        .select({ at: END_TIME })
        .from(jobs)
        .where(gt(END_TIME, now))
        .orderBy(asc(END_TIME))
        .all()
        .map(({ at }) => at),

    hasPendingWebhook: id => db.select().from(webhooks).where(eq(webhooks.id, id)).get() !== undefined,
    reclaimWebhooks: () => void db.update(webhooks).set({ dueAt: 0 }).where(isNull(webhooks.dueAt)).run(),
    claimDueWebhooks: now =>
      db.update(webhooks).set({ dueAt: null }).where(lte(webhooks.dueAt, now)).returning().all(),
    nextWebhookDueAt: () =>
      db.select({ at: sql<number | null>`min(due_at)` }).from(webhooks).get()?.at ?? null,
    rescheduleWebhook: (id, dueAt, tries) =>
      void db.update(webhooks).set({ dueAt, tries }).where(eq(webhooks.id, id)).run(),
    deleteWebhook: id => void db.delete(webhooks).where(eq(webhooks.id, id)).run(),

    addFile: file => void db.insert(files).values(file).run(),
    putFile: (id, data) => void db.update(files).set({ data }).where(eq(files.id, id)).run(),
    file: id => db.select().from(files).where(eq(files.id, id)).get() ?? null,

    port: () => db.select().from(ports).get()?.port ?? null,
    savePort: port =>
      void db
        .insert(ports)
        .values({ only: 1, port })
        .onConflictDoUpdate({ target: ports.only, set: { port } })
        .run(),
    close: () => void client.close(),
  }
}
