import { describe, expect, test } from 'vitest'
import type { AppLimits } from '../../../../src/domain/app-limits.ts'
import type { Draft } from '../../../../src/domain/prediction.ts'
import { canceled, imageVerified, submitAnswered } from '../../../../src/domain/transitions.ts'
import { createAppStore } from '../../../../src/store/sqlite/apps.ts'
import { openDatabase } from '../../../../src/store/sqlite/connection.ts'
import { eq } from '../../../../src/store/sqlite/drizzle.ts'
import { createGroupCommit } from '../../../../src/store/sqlite/group-commit.ts'
import { createPredictionStore } from '../../../../src/store/sqlite/predictions/write.ts'
import { predictions } from '../../../../src/store/sqlite/schema.ts'
import { createSharedParts } from '../../../../src/store/sqlite/shared-parts.ts'
import { openSqliteStore } from '../../../../src/store/sqlite/sqlite-store.ts'
import {
  addPrediction,
  COMPLETED,
  claimReadySubmits,
  draft,
  fixture,
  PRICE,
  pollSucceededAt,
  T,
} from '../../../support/store.ts'
import { recordStatements } from '../record-statements.ts'

const openStore = async (notify: () => void) => openSqliteStore(':memory:', notify)

const USAGE = {
  spent: /from app_monthly_spend/,
  queued: /select count\(\*\) from predictions where app_id/,
  recentSubmitAt: /select created_at from predictions/,
  tokenSubmits: /where token_id/,
}
/** The table that a statement writes, or the fact that it loads. */
function dutyOf(text: string): string {
  const [, written] = /^\s*(?:insert (?:or ignore )?into|update|delete from)\s+"?(\w+)/.exec(text) ?? []
  const usage = Object.entries(USAGE).find(([, pattern]) => pattern.test(text))
  if (/^\s*with\b/.test(text)) return 'write apps'
  if (written !== undefined) return `write ${written}`
  if (usage !== undefined) return usage[0]
  if (/from apps/.test(text)) return 'limits'
  return /idempotency_key = /.test(text) ? 'keyHolder' : text
}
const dutiesOf = async (run: () => Promise<unknown>) =>
  (await recordStatements(run)).map(dutyOf).filter(duty => !/^(begin|commit)/i.test(duty))

const WRITES = ['write apps', 'write predictions', 'write app_monthly_spend', 'write events']

describe('the statements of a create', () => {
  async function dutiesOfCreate(
    limits: Partial<AppLimits>,
    over: Partial<Draft> = {},
    key: string | null = null,
  ) {
    await using f = await fixture(openStore)
    await f.store.setLimits(f.app, limits)
    const idempotency = key === null ? null : { restrictionKey: '', key, fingerprint: '' }
    const create = () => f.store.create(draft(f.app, over), idempotency, T, { maxSubmits: 9 })
    await addPrediction(f.store, f.app)
    return { first: await dutiesOf(create), second: await dutiesOf(create) }
  }

  test.each<[string, Partial<AppLimits>, Partial<Draft>, string[]]>([
    ['without limits: no usage', {}, {}, []],
    ['with a budget: the spend alone', { monthlyBudget: 9 * PRICE }, {}, ['spent']],
    ['with a queue limit: the queue alone', { maxQueued: 9 }, {}, ['queued']],
    ['with a limit a minute: one submit’s time', { submitsPerMinute: 9 }, {}, ['recentSubmitAt']],
    ['with a weight and a limit of its slots: no usage', { weight: 2, maxInFlight: 1 }, {}, []],
    [
      'with all three limits',
      { monthlyBudget: 9 * PRICE, maxQueued: 9, submitsPerMinute: 9 },
      {},
      ['spent', 'queued', 'recentSubmitAt'],
    ],
  ])('of an app %s', async (_, limits, over, usage) => {
    const { first } = await dutiesOfCreate(limits, over)
    expect(first).toEqual(['limits', ...usage, ...WRITES])
  })

  test('of a token: the count of its submits', async () => {
    const { first } = await dutiesOfCreate({}, { tokenId: 't' })
    expect(first).toEqual(['tokenSubmits', 'limits', ...WRITES])
  })

  test('of a prediction with tags: one more for all tags', async () => {
    const { first } = await dutiesOfCreate({}, { tags: ['a', 'b'] })
    expect(first).toEqual(['limits', ...WRITES.toSpliced(2, 0, 'write prediction_tags')])
  })

  test('of a key: one read, which alone answers a repetition', async () => {
    const { first, second } = await dutiesOfCreate({ monthlyBudget: 9 * PRICE }, { tokenId: 't' }, 'k')
    expect(first).toEqual(['keyHolder', 'tokenSubmits', 'limits', 'spent', ...WRITES])
    expect(second).toEqual(['keyHolder'])
  })
})

describe('the statements of a change', () => {
  test('are the read of its row and one for each write', async () => {
    await using f = await fixture(openStore)
    const { id } = await addPrediction(f.store, f.app)
    const change = async (...[transition]: [Parameters<typeof f.store.change>[1]]) =>
      (await recordStatements(() => f.store.change(id, transition, T)))
        .filter(text => !/^\s*(begin|commit)/i.test(text))
        .slice(1)
        .map(dutyOf)
    expect(await change(() => null)).toEqual([])
    expect(await change(imageVerified(T))).toEqual(['write predictions'])
    await claimReadySubmits(f.store, T)
    const answered = await change(submitAnswered({ kind: 'accepted', upstreamId: 'u' }, T, T))
    expect(answered.slice(2)).toEqual(['write predictions', 'write events'])
    const processing = pollSucceededAt({ status: 'processing' }, T, T)
    expect(await change(processing)).toEqual(['write predictions', 'write events'])
    expect(await change(processing)).toEqual(['write predictions'])
    const ended = await change(pollSucceededAt(COMPLETED, T, T))
    expect(ended).toEqual(['write predictions', 'write apps', 'write apps', 'write events'])
  })
})

test('a change of a row whose version has changed since it was read throws, and writes nothing', async () => {
  const { db, close } = openDatabase(':memory:', { exclusive: false })
  const shared = createSharedParts(db)
  const store = {
    ...createPredictionStore(
      db,
      createGroupCommit(db, () => {}),
      shared,
    ),
    ...createAppStore(db),
  }
  const { id } = await addPrediction(store, (await store.createApp('app', T))!.id)
  const rowOf = () => db.select().from(predictions).where(eq(predictions.id, id)).get()
  const before = rowOf()
  const change = store.change(
    id,
    job => {
      db.update(predictions).set({ version: 7 }).where(eq(predictions.id, id)).run()
      return canceled(T)(job)
    },
    T,
  )
  await expect(change).rejects.toThrow(`prediction ${id} does not have the version 1`)
  expect(rowOf()).toEqual(before)
  close()
})
