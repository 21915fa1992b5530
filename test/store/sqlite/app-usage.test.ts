import { expect, test } from 'vitest'
import { createRestriction, createScope, fullScope, type Scope } from '../../../src/domain/access-scope.ts'
import type { AppId } from '../../../src/domain/prediction.ts'
import { openSqliteStore } from '../../../src/store/sqlite/sqlite-store.ts'
import { addPrediction, HOUR, newApp, PRICE, T } from '../../support/store.ts'
import { recordStatements } from './record-statements.ts'

const JOBS = 1200
const NOW = T + HOUR

/** A queue of 1200 jobs, all with the tag "all" and each twelfth with the tag "few". */
async function openLongQueue() {
  const store = openSqliteStore(':memory:', () => {})
  const app = await newApp(store)
  const add = (i: number) =>
    addPrediction(store, app, T + i, { tags: i % 12 === 0 ? ['all', 'few'] : ['all'] })
  await Promise.all(Array.from({ length: JOBS }, (_, i) => add(i)))
  return { store, app, add, [Symbol.asyncDispose]: store.close }
}

const tagScope = (app: AppId, tag: string): Scope => createScope(app, createRestriction([tag], []))

test('the usage of a token that sees few jobs of a long queue is exact, and does not read the queue', async () => {
  await using f = await openLongQueue()
  const scope = tagScope(f.app, 'few')
  const usage = { inFlight: 0, queued: JOBS / 12, spent: (JOBS / 12) * PRICE }
  let read: unknown
  const statements = await recordStatements(async () => {
    read = await f.store.usage(scope, NOW)
  })
  expect(read).toEqual(usage)
  expect(
    statements.filter(text => /count\(\*\) from predictions indexed by "?predictions_waiting/.test(text)),
  ).toEqual([])
  await f.add(1200)
  await f.store.change((await f.add(1212)).id, () => ({ status: 'CANCELED' }), NOW)
  expect(await f.store.usage(scope, NOW)).toEqual({
    ...usage,
    queued: usage.queued + 1,
    spent: usage.spent + 2 * PRICE,
  })
})

test('the usage of a token that sees many jobs is exact, and read once for many requests', async () => {
  await using f = await openLongQueue()
  const scope = tagScope(f.app, 'all')
  const usages: unknown[] = []
  const statements = await recordStatements(async () => {
    const asked = [f.store.usage(scope, NOW), f.store.usage(scope, NOW), f.store.usage(scope, NOW)]
    usages.push(...(await Promise.all(asked)))
  })
  const usage = { inFlight: 0, queued: JOBS, spent: JOBS * PRICE }
  expect(usages).toEqual([usage, usage, usage])
  expect(statements.filter(text => text.includes('as queued'))).toHaveLength(1)
  expect(await f.store.usage(fullScope(f.app), NOW)).toEqual(usage)
})

test('the usage of another restriction is read for itself', async () => {
  await using f = await openLongQueue()
  const [all, few, none] = await Promise.all(
    ['all', 'few', 'none'].map(tag => f.store.usage(tagScope(f.app, tag), NOW)),
  )
  expect([all!.queued, few!.queued, none!.queued]).toEqual([JOBS, JOBS / 12, 0])
})
