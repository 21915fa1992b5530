import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { drizzle } from 'drizzle-orm/better-sqlite3'
import { migrate } from 'drizzle-orm/better-sqlite3/migrator'
import { expect, test } from 'vitest'
import type { AppId } from '../src/prediction.ts'
import { openSqlite } from '../src/store/sqlite/open.ts'
import { jobOf, MINUTE, T } from './support/store.ts'

/** A database as the first `count` migrations leave it. */
function older(folder: string, count: number): Database.Database {
  const migrations = join(folder, 'migrations')
  cpSync('src/store/sqlite/migrations', migrations, { recursive: true })
  const path = join(migrations, 'meta', '_journal.json')
  const journal = JSON.parse(readFileSync(path, 'utf8'))
  writeFileSync(path, JSON.stringify({ ...journal, entries: journal.entries.slice(0, count) }))
  const client = new Database(join(folder, 'rushes.db'))
  migrate(drizzle(client), { migrationsFolder: migrations })
  return client
}

test('what an older gateway left in flight, waiting or unknown is followed on by this one', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'rushes-upgrade-'))
  try {
    const old = older(folder, 1)
    old.prepare("insert into apps (id, name, created_at) values ('app', 'web', ?)").run(T)
    const insert = old.prepare(`
      insert into predictions (id, app_id, model, image_url, prompt, duration, enable_prompt_expansion, seed, tags,
        created_at, status, outputs, error, cost, upstream_id, submitted_at, begun_at, updated_at, submission, due_at)
      values (?, 'app', 'WAN_2_2_I2V_PLUS_1080P', 'https://images.example/cat.png', 'x', 5, 0, -1, '[]',
        ${T}, ?, '[]', ?, 800000, ?, ${T}, ${T}, ${T}, ?, ${T})`)
    insert.run('waiting', 'QUEUED', null, null, 'none')
    insert.run('begun', 'QUEUED', null, null, 'begun')
    insert.run('created', 'CREATED', null, 'u1', 'accepted')
    insert.run('processing', 'PROCESSING', null, 'u2', 'accepted')
    insert.run('done', 'COMPLETED', null, 'u3', 'accepted')
    insert.run('lost', 'FAILED', 'SUBMISSION_UNKNOWN', null, 'unknown')
    old.close()

    const store = openSqlite(join(folder, 'rushes.db'), () => {})
    const claim = { now: T + MINUTE, leaseUntil: T + 2 * MINUTE, limit: 10 }
    const ids = (jobs: { id: string }[]) => jobs.map(({ id }) => id).sort()
    expect(await store.tally()).toEqual({ waiting: 1, begun: 1, inFlight: 2, late: 0, sought: 1 })
    expect(ids(await store.claimPolls(claim))).toEqual(['created', 'processing'])
    expect(ids(await store.claimSought(claim))).toEqual(['lost'])
    expect(ids(await store.claimAbandoned(claim))).toEqual(['begun'])
    expect(ids(await store.claimImages({ ...claim, imagesSince: 0, stock: 9 }))).toEqual(['waiting'])
    expect(await jobOf(store, 'done')).toMatchObject({ following: null, imageTries: 0 })
    expect((await store.usage('app' as AppId, 0)).inFlight).toBe(3)
    await store.close()
  } finally {
    rmSync(folder, { recursive: true })
  }
})
