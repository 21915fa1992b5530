import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import {
  createRestriction,
  createScope,
  fullScope,
  type Scope,
  writeOnlyRestriction,
} from '../../../src/domain/access-scope.ts'
import type { AppId } from '../../../src/domain/prediction.ts'
import { openSqliteStore } from '../../../src/store/sqlite/sqlite-store.ts'
import { addPrediction, draft, eventsOf, idsOf, jobOf, MINUTE, pageRequest, T } from '../../support/store.ts'
import { openOlderDatabase } from './upgrade/older-database.ts'

test('this gateway tracks jobs that an older one left in flight, queued or unknown', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'rushes-upgrade-'))
  try {
    const old = openOlderDatabase(folder, 1)
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

    const store = openSqliteStore(join(folder, 'rushes.db'), () => {})
    const claim = { now: T + MINUTE, leaseUntil: T + 2 * MINUTE, limit: 10 }
    const ids = (jobs: { id: string }[]) => jobs.map(({ id }) => id).sort()
    expect(await store.countByState()).toEqual({
      queued: 1,
      held: 0,
      submitting: 1,
      inFlight: 2,
      expired: 0,
      unresolved: 1,
    })
    expect(ids(await store.claimPolls(claim))).toEqual(['created', 'processing'])
    expect(ids(await store.claimUnresolvedSubmits(claim))).toEqual(['lost'])
    expect(ids(await store.claimAbandonedSubmits(claim))).toEqual(['begun'])
    expect(ids(await store.claimImageChecks({ ...claim, imageVerifiedAfter: 0, readyTarget: 9 }))).toEqual([
      'waiting',
    ])
    expect(await jobOf(store, 'done')).toMatchObject({ tracking: null, imageCheckFailures: 0 })
    expect((await store.usage(fullScope('app' as AppId), 0)).inFlight).toBe(3)
    await store.close()
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('an older gateway’s app has spent the cost of its predictions of each month', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'rushes-upgrade-'))
  try {
    const old = openOlderDatabase(folder, 2)
    for (const app of ['web', 'idle', 'batch'])
      old.prepare('insert into apps (id, name, created_at) values (?, ?, ?)').run(app, app, T)
    const insert = old.prepare(`
      insert into predictions (id, app_id, model, image_url, prompt, duration, enable_prompt_expansion, seed, tags,
        created_at, status, outputs, cost, updated_at, submission, due_at, idempotency_key, fingerprint)
      values (?, ?, 'WAN_2_2_I2V_PLUS_1080P', 'https://images.example/cat.png', 'x', 5, 0, -1, '["a"]',
        ?, 'QUEUED', '[]', ?, ${T}, 'none', ${T}, ?, ?)`)
    const [january, february] = [Date.UTC(2027, 0), Date.UTC(2027, 1)]
    const rows: [app: string, createdAt: number, cost: number][] = [
      ['web', january - 1, 1],
      ['web', january, 10],
      ['web', february - 1, 100],
      ['web', february, 1000],
      ['web', february + 1, 0],
      ['batch', february, 400_000],
    ]
    for (const [i, [app, createdAt, cost]] of rows.entries())
      insert.run(`p${i}`, app, createdAt, cost, `k${i}`, 'print')
    old.close()

    const store = openSqliteStore(join(folder, 'rushes.db'), () => {})
    const spent = async (app: string, moment: number) =>
      (await store.usage(fullScope(app as AppId), moment)).spent
    for (const [app, moment, sum] of [
      ['web', january - 1, 1],
      ['web', january, 110],
      ['web', february - 1, 110],
      ['web', february, 1000],
      ['web', Date.UTC(2027, 2), 0],
      ['batch', february, 400_000],
      ['batch', january, 0],
      ['idle', february, 0],
    ] as const)
      expect([app, moment, await spent(app, moment)]).toEqual([app, moment, sum])
    // Later changes of a cost change the sum.
    await store.change('p3', () => ({ status: 'CANCELED', cost: 0 }), february)
    expect(await spent('web', february)).toBe(0)
    // The idempotency keys belong to the app itself, not to a token.
    const again = await store.create(
      draft('web' as AppId),
      { restrictionKey: '', key: 'k3', fingerprint: 'print' },
      february + 1,
    )
    expect(again).toMatchObject({
      kind: 'repeated',
      prediction: { id: 'p3', restrictionKey: '', tokenId: null },
    })
    const scope = createScope('web' as AppId, createRestriction(['a'], []))
    expect((await store.get(scope, 'p0'))?.id).toBe('p0')
    await store.close()
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('a filter by tag and a token find predictions of an older gateway', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'rushes-upgrade-'))
  try {
    const old = openOlderDatabase(folder, 6)
    const writeOnly = writeOnlyRestriction(['a'], [])
    for (const app of ['web', 'batch'])
      old.prepare('insert into apps (id, name, created_at) values (?, ?, ?)').run(app, app, T)
    const insert = old.prepare(`
      insert into predictions (id, app_id, model, image_url, prompt, duration, enable_prompt_expansion, seed, tags,
        space, created_at, status, outputs, cost, updated_at, due_at)
      values (?, ?, 'WAN_2_2_I2V_PLUS_1080P', 'https://images.example/cat.png', 'x', 5, 0, -1, ?,
        ?, ?, 'QUEUED', '[]', 0, ${T}, ${T})`)
    const rows: [id: string, app: string, tags: string[], space: string][] = [
      ['p0', 'web', ['a', 'b'], ''],
      ['p1', 'web', [], ''],
      ['p2', 'web', ['b', 'a\0b', 'b'], ''],
      ['p3', 'batch', ['a'], ''],
      ['p4', 'web', ['ä "', 'a'], writeOnly.key],
    ]
    for (const [i, [id, app, tags, space]] of rows.entries())
      insert.run(id, app, JSON.stringify(tags), space, T + i)
    old.close()

    const store = openSqliteStore(join(folder, 'rushes.db'), () => {})
    const appId = 'web' as AppId
    const found = async (scope: Scope, tags?: string[]) =>
      idsOf((await store.list(scope, pageRequest({ filter: { tags } }))).predictions)
    expect(await found(fullScope(appId), ['a'])).toEqual(['p4', 'p0'])
    expect(await found(fullScope(appId), ['b', 'ä "'])).toEqual(['p4', 'p2', 'p0'])
    expect(await found(fullScope(appId), ['a\0b'])).toEqual(['p2'])
    expect(await found(createScope(appId, createRestriction(['b'], [])))).toEqual(['p2', 'p0'])
    expect(await found(createScope(appId, writeOnly))).toEqual(['p4'])
    await addPrediction(store, appId, T + 9, { tags: ['b'] })
    expect(await found(fullScope(appId), ['b'])).toHaveLength(3)
    await store.close()
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('an older gateway’s events get rising versions, and each prediction the version of its newest event', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'rushes-upgrade-'))
  try {
    const old = openOlderDatabase(folder, 8)
    old.prepare("insert into apps (id, name, created_at) values ('app', 'web', ?)").run(T)
    const insert = old.prepare(`
      insert into predictions (id, app_id, model, image_url, prompt, duration, enable_prompt_expansion, seed, tags,
        created_at, status, outputs, cost, updated_at, due_at)
      values (?, 'app', 'WAN_2_2_I2V_PLUS_1080P', 'https://images.example/cat.png', 'x', 5, 0, -1, '[]',
        ${T}, 'QUEUED', '[]', 0, ${T}, ${T})`)
    for (const id of ['a', 'b', 'pruned']) insert.run(id)
    const insertEvent = old.prepare(`
      insert into events (seq, app_id, prediction_id, type, previous_status, occurred_at, state)
      values (?, 'app', ?, 'STATUS_CHANGED', 'QUEUED', ${T}, ?)`)
    const state = {
      ...{
        status: 'FAILED',
        outputs: [{ url: 'https://ä.example/"1".mp4', hasNsfwContent: null, expiresAt: T }],
      },
      ...{ error: null, cost: 0, upstreamId: null, submittedAt: null, startedAt: null, finishedAt: T },
      ...{ updatedAt: T, inferenceMs: null },
    }
    // The first events are pruned.
    for (const [i, id] of ['a', 'b', 'a', 'a', 'b'].entries())
      insertEvent.run(10 + i, id, JSON.stringify(state))
    old.close()

    const store = openSqliteStore(join(folder, 'rushes.db'), () => {})
    const appId = 'app' as AppId
    const events = await eventsOf(store, appId)
    expect(events.map(({ seq, prediction }) => [seq, prediction.id, prediction.version])).toEqual([
      [10, 'a', 1],
      [11, 'b', 1],
      [12, 'a', 2],
      [13, 'a', 3],
      [14, 'b', 2],
    ])
    for (const { prediction } of events) expect(prediction).toMatchObject(state)
    const versions = (await store.getMany(fullScope(appId), ['a', 'b', 'pruned'])).map(each => each!.version)
    expect(versions).toEqual([3, 2, 1])
    await store.change('a', () => ({ cost: 1 }), T)
    expect((await eventsOf(store, appId)).at(-1)!.prediction.version).toBe(4)
    await store.close()
  } finally {
    rmSync(folder, { recursive: true })
  }
})
