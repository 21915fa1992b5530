/**
 * Databases of earlier versions, made with the earlier migrations and raw SQL. Tables and columns have the names of
 * their version.
 */
import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import Database from 'better-sqlite3'
import { drizzle, migrate } from '../../../../src/store/sqlite/drizzle.ts'

export const MIGRATIONS = resolve(import.meta.dirname, '../../../../src/store/sqlite/migrations')
/** 0000_start to 0006_tagged. */
export const MIGRATIONS_BEFORE_NAMES = 7

/** Makes a list of migrations end after the first `count`. */
export function cutMigrations(folder: string, count: number): void {
  const path = join(folder, 'meta', '_journal.json')
  const journal = JSON.parse(readFileSync(path, 'utf8'))
  writeFileSync(path, JSON.stringify({ ...journal, entries: journal.entries.slice(0, count) }))
}

/** A new database `rushes.db` in that folder, as the first `count` migrations leave it. */
export function openOlderDatabase(folder: string, count: number): Database.Database {
  const migrations = join(folder, 'migrations')
  cpSync(MIGRATIONS, migrations, { recursive: true })
  cutMigrations(migrations, count)
  const client = new Database(join(folder, 'rushes.db'))
  client.pragma('journal_mode = WAL')
  migrate(drizzle(client), { migrationsFolder: migrations })
  return client
}

export const EVENTS_PER_PREDICTION = 4
const APPS = 10
/** Shorter than the time for which a gateway keeps events. */
const AGE_MS = 6 * 24 * 60 * 60 * 1000

/**
 * Makes `rushes.db` of the version 0006_tagged in that folder and returns its path. Predictions are spread evenly over
 * ten apps and the last six days, with four events each. The newest `inFlight` of them are in flight; of the others one
 * in 30 has failed, and the rest is completed.
 */
export function createOlderDatabase(folder: string, predictions: number, inFlight: number): string {
  const db = openOlderDatabase(folder, MIGRATIONS_BEFORE_NAMES)
  // The file is temporary, so it need not survive a power cut.
  db.pragma('synchronous = OFF')
  const begin = Date.now() - AGE_MS
  db.transaction(() => {
    db.prepare(`
      insert into apps (id, name, created_at)
      with recursive n(i) as (select 0 union all select i + 1 from n where i + 1 < ?)
      select 'app-' || i, 'app ' || i, ? from n`).run(APPS, begin)
    db.prepare(`
      insert into predictions (id, app_id, model, image_url, prompt, duration, enable_prompt_expansion, seed, tags,
        created_at, status, outputs, error, cost, upstream_id, submitted_at, started_at, finished_at, updated_at,
        inference_ms, submission, following, fence, attempts, due_at, image_seen_at, begun_at, running_at)
      with recursive
        n(i) as (select 0 union all select i + 1 from n where i + 1 < @predictions),
        job as (
          select i, @begin + cast(i * ${AGE_MS - 300_000}.0 / @predictions as integer) as created_at,
            case when i >= @predictions - @inFlight then 'PROCESSING' when i % 30 = 0 then 'FAILED' else 'COMPLETED' end
              as status
          from n)
      select
        printf('%08x-%04x-7000-8000-%012x', created_at >> 16, created_at & 0xffff, i), 'app-' || (i % ${APPS}),
        'WAN_2_2_I2V_PLUS_1080P', 'https://images.example/harbour/' || i || '.jpg',
        'A slow pan over the harbour at dawn, gulls over the water, take ' || i, 5, 0, -1,
        json_array('batch-' || (i % 100)), created_at, status,
        iif(status = 'COMPLETED', json_array(json_object('url', printf('https://cdn.example/%032x/output.mp4', i),
          'hasNsfwContent', json('false'), 'expiresAt', created_at + ${AGE_MS})), '[]'),
        iif(status = 'FAILED', 'GENERATION_FAILED', null), iif(status = 'FAILED', 0, 800000), printf('%032x', i),
        created_at + 2000, created_at + 5000, iif(status = 'PROCESSING', null, created_at + 120000),
        created_at + 120000, iif(status = 'PROCESSING', null, 115000), 'accepted',
        iif(status = 'PROCESSING', 'closely', null), 2, 1, created_at + 120000, created_at + 1000, created_at + 1500,
        created_at + 5000
      from job`).run({ predictions, inFlight, begin })
    db.exec(`
      insert into tagged select app_id, value, created_at, predictions.id from predictions, json_each(tags);
      insert into spending select app_id, unixepoch(created_at / 1000, 'unixepoch', 'start of month') * 1000 as month,
        sum(cost) from predictions group by app_id, month;
      insert into events (app_id, prediction_id, type, previous_status, occurred_at, standing)
      select app_id, id, iif(previous is null, 'QUEUED', 'STATUS_CHANGED'), previous, created_at + after_ms,
        json_object('status', coalesce(next, status), 'outputs', json(iif(next is null, outputs, '[]')),
          'error', iif(next is null, error, null), 'cost', cost, 'upstreamId', upstream_id,
          'submittedAt', submitted_at, 'startedAt', started_at, 'finishedAt', finished_at,
          'updatedAt', created_at + after_ms, 'inferenceMs', inference_ms)
      from predictions, (
        select 0 as n, null as previous, 'QUEUED' as next, 0 as after_ms
        union all select 1, 'QUEUED', 'CREATED', 2000
        union all select 2, 'CREATED', 'PROCESSING', 5000
        union all select 3, 'PROCESSING', null, 120000)
      order by created_at, n;`)
  })()
  db.close()
  return join(folder, 'rushes.db')
}
