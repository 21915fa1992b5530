import { describe, expect, test } from 'vitest'
import { fullScope } from '../../src/domain/access-scope.ts'
import type { Store } from '../../src/store/store.ts'
import { ENGINES } from '../support/engines.ts'
import {
  addPrediction,
  addPredictions,
  claimReadySubmits,
  HOUR,
  idsOf,
  jobOf,
  MINUTE,
  newApp,
  pageRequest,
  SECOND,
  sharedFixture,
  submitAll,
  T,
} from '../support/store.ts'

describe.each(ENGINES)('a database of several stores on %s', (_, { createDatabase }) => {
  test('opened again has everything it had, including its epoch and its cursor key', async () => {
    await using f = await sharedFixture(createDatabase)
    const before = await f.open()
    const app = await newApp(before)
    await before.addKey(app, { prefix: 'rsh_aaaaaaaa', hash: 'h', expiresAt: null }, T)
    await before.bindUpstream('the simulator')
    await addPredictions(before, app, 2)
    const [sent] = await submitAll(before, T + SECOND)
    await before.change(sent!.id, () => ({ dueAt: T, submitCircuit: { reason: 'account', until: T } }), T)
    const kept = async (store: Store) => ({
      epoch: store.epoch,
      cursorKey: store.cursorKey,
      app: await store.getApp(app),
      key: await store.findKey('rsh_aaaaaaaa'),
      upstream: await store.bindUpstream('another'),
      list: await store.list(fullScope(app), pageRequest()),
      events: await store.eventsAfter({ scope: fullScope(app), afterSeq: 0, limit: 100 }),
      circuit: await store.submitCircuit(),
      job: await jobOf(store, sent!.id),
    })
    const first = await kept(before)
    await before.close()
    expect(await kept(await f.open())).toEqual(first)
    expect(first.events.events).toHaveLength(4)
    expect(first.upstream).toBe('the simulator')
  })

  test('has rows as begun in every store when claimSubmits returns', async () => {
    await using f = await sharedFixture(createDatabase)
    const [store, other] = [await f.open(), await f.open()]
    const { id } = await addPrediction(store, await newApp(store))
    await claimReadySubmits(store, T + 5)
    expect(await jobOf(other, id)).toMatchObject({ submission: 'begun', submitStartedAt: T + 5 })
  })

  test('has a row as begun that was begun when the process died', async () => {
    await using f = await sharedFixture(createDatabase)
    const dying = await f.open()
    const { id } = await addPrediction(dying, await newApp(dying))
    await claimReadySubmits(dying, T, { leaseUntil: T + MINUTE })
    // The first store is not closed before the second has taken over.
    const store = await f.open()
    expect(await claimReadySubmits(store, T + HOUR)).toEqual([])
    expect(
      await store.claimAbandonedSubmits({ now: T + HOUR, leaseUntil: T + HOUR, limit: 9 }),
    ).toMatchObject([{ id }])
  })

  test('gives no row to two stores, nor more rows than the account may have', async () => {
    await using f = await sharedFixture(createDatabase)
    const [one, two] = [await f.open(), await f.open()]
    await addPredictions(one, await newApp(one), 12)
    const claims = []
    for (let i = 0; i < 3; i++)
      for (const store of [one, two])
        claims.push(await claimReadySubmits(store, T + HOUR, { limit: 2, upstreamConcurrency: 9 }))
    const ids = claims.flatMap(idsOf)
    expect(ids).toHaveLength(9)
    expect(new Set(ids).size).toBe(9)
  })
})
