/**
 * What the simulator remembers across restarts: its jobs, and the port its output URLs name.
 */
import Database from 'better-sqlite3'
import { and, desc, eq, gt, lt, sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/better-sqlite3'
import { index, integer, sqliteTable, text } from 'drizzle-orm/sqlite-core'
import type { SimulatedJob } from './job.ts'

const jobs = sqliteTable(
  'jobs',
  {
    id: text().primaryKey(),
    createdAt: integer().notNull(),
    job: text({ mode: 'json' }).$type<SimulatedJob>().notNull(),
  },
  table => [index('jobs_by_creation').on(table.createdAt)],
)
const ports = sqliteTable('ports', { only: integer().primaryKey(), port: integer().notNull() })

export interface Ledger {
  add(job: SimulatedJob): void
  get(id: string): SimulatedJob | null
  /** Newest first, read as they are asked for. */
  newest(after: number, before: number, model?: string): Generator<SimulatedJob>
  /** The port of the last start; null at the first. */
  port(): number | null
  keepPort(port: number): void
  close(): void
}

const CHUNK = 200

/** @param file a path, or `:memory:` */
export function openLedger(file: string): Ledger {
  const client = new Database(file)
  client.pragma('journal_mode = WAL')
  const db = drizzle(client, { casing: 'snake_case' })
  db.run(
    sql`create table if not exists jobs (id text primary key, created_at integer not null, job text not null)`,
  )
  db.run(sql`create index if not exists jobs_by_creation on jobs (created_at)`)
  db.run(sql`create table if not exists ports (only integer primary key, port integer not null)`)

  return {
    add: job => void db.insert(jobs).values({ id: job.id, createdAt: job.createdAt, job }).run(),
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
