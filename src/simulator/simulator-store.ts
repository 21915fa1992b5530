/**
 * What the simulator remembers across restarts: its jobs, the webhooks it still owes, and the port its output URLs name.
 */
import { createRequire } from 'node:module'
import Database from 'better-sqlite3'
import type { SimulatedJob } from './job.ts'

// Drizzle's other build links every dialect's index: 180 MB and a quarter of a second more (measured).
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

export interface Webhook {
  /** Of its job. */
  id: string
  url: string
  /** So far. */
  tries: number
}

/** A file that was, or may be, handed over. */
export interface StoredFile {
  id: string
  /** Of its PUT. */
  headers: Record<string, string>
  size: number
  createdAt: number
  data: Buffer | null
}

export interface Ledger {
  /** With the webhook that it asks for, if its end is announced, and when. */
  add(job: SimulatedJob, webhook?: { url: string; dueAt: number }): void
  get(id: string): SimulatedJob | null
  /** Newest first, read as they are asked for. */
  newest(after: number, before: number, model?: string): Generator<SimulatedJob>
  /** When those were accepted that came after, oldest first. */
  acceptances(after: number): number[]
  /** When those end that have not, soonest first. */
  ends(now: number): number[]
  owes(id: string): boolean
  /** What another process had taken is due again. */
  regainWebhooks(): void
  /** Webhooks that are due; no more then, until they are put off. */
  takeWebhooks(now: number): Webhook[]
  /** When the next one is due. */
  nextWebhook(): number | null
  putOffWebhook(id: string, dueAt: number, tries: number): void
  dropWebhook(id: string): void
  addFile(file: StoredFile): void
  putFile(id: string, data: Buffer): void
  file(id: string): StoredFile | null
  /** The port of the last start; null at the first. */
  port(): number | null
  keepPort(port: number): void
  close(): void
}

const CHUNK = 200
const END = sql<number>`created_at + (job ->> '$.plan.totalMs')`

/** @param file a path, or `:memory:` */
export function openLedger(file: string): Ledger {
  const client = new Database(file)
  client.pragma('journal_mode = WAL')
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
      const among = and(
        gt(jobs.createdAt, after),
        lt(jobs.createdAt, before),
        model === undefined ? undefined : sql`job ->> 'model' = ${model}`,
      )
      const inOrder = db
        .select()
        .from(jobs)
        .where(among)
        .orderBy(desc(jobs.createdAt), desc(jobs.id))
        .limit(CHUNK)
      for (let offset = 0, read = CHUNK; read === CHUNK; offset += read) {
        const rows = inOrder.offset(offset).all()
        read = rows.length
        for (const row of rows) yield row.job
      }
    },
    acceptances: after =>
      db
        .select({ at: jobs.createdAt })
        .from(jobs)
        .where(gt(jobs.createdAt, after))
        .orderBy(asc(jobs.createdAt))
        .all()
        .map(({ at }) => at),
    ends: now =>
      db
        .select({ at: END })
        .from(jobs)
        .where(gt(END, now))
        .orderBy(asc(END))
        .all()
        .map(({ at }) => at),

    owes: id => db.select().from(webhooks).where(eq(webhooks.id, id)).get() !== undefined,
    regainWebhooks: () => void db.update(webhooks).set({ dueAt: 0 }).where(isNull(webhooks.dueAt)).run(),
    takeWebhooks: now =>
      db.update(webhooks).set({ dueAt: null }).where(lte(webhooks.dueAt, now)).returning().all(),
    nextWebhook: () => db.select({ at: sql<number | null>`min(due_at)` }).from(webhooks).get()?.at ?? null,
    putOffWebhook: (id, dueAt, tries) =>
      void db.update(webhooks).set({ dueAt, tries }).where(eq(webhooks.id, id)).run(),
    dropWebhook: id => void db.delete(webhooks).where(eq(webhooks.id, id)).run(),

    addFile: file => void db.insert(files).values(file).run(),
    putFile: (id, data) => void db.update(files).set({ data }).where(eq(files.id, id)).run(),
    file: id => db.select().from(files).where(eq(files.id, id)).get() ?? null,

    port: () => db.select().from(ports).get()?.port ?? null,
    keepPort: port =>
      void db
        .insert(ports)
        .values({ only: 1, port })
        .onConflictDoUpdate({ target: ports.only, set: { port } })
        .run(),
    close: () => void client.close(),
  }
}
