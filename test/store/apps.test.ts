import { describe, expect, test } from 'vitest'
import { fullScope } from '../../src/domain/access-scope.ts'
import type { AppId } from '../../src/domain/prediction.ts'
import { ENGINES } from '../support/engines.ts'
import {
  addPrediction,
  addPredictions,
  claimReadySubmits,
  fixture,
  HOUR,
  MINUTE,
  newApp,
  PRICE,
  SECOND,
  submitAll,
  T,
  UNKNOWN_ID,
} from '../support/store.ts'

const NONE = {
  maxInFlight: null,
  maxQueued: null,
  submitsPerMinute: null,
  monthlyBudget: null,
  weight: 1,
}

describe.each(ENGINES)('%s', (_, { open }) => {
  describe('apps, keys and usage', () => {
    test('an app is found by its id and by its name, without limits at first', async () => {
      await using f = await fixture(open)
      const made = await f.store.createApp('studio', T)
      expect(made).toEqual({
        id: expect.stringMatching(/^[\da-f-]{36}$/),
        name: 'studio',
        limits: NONE,
      })
      expect(await f.store.getApp(made!.id)).toEqual(made)
      expect(await f.store.findAppByName('studio')).toEqual(made)
      expect(await f.store.getApp(UNKNOWN_ID as AppId)).toBeNull()
      expect(await f.store.findAppByName('nobody')).toBeNull()
      expect(await f.store.countApps()).toBe(2)
    })

    test('an app is created with its limits and its first key, or not at all', async () => {
      await using f = await fixture(open)
      const key = { prefix: 'rsh_aaaaaaaa', hash: 'h1', expiresAt: T + HOUR }
      const limits = { maxQueued: 10, monthlyBudget: 12_500_000 }
      const made = await f.store.createApp('studio', T, { limits, key })
      expect(made!.limits).toEqual({ ...NONE, ...limits })
      expect(await f.store.findKey(key.prefix)).toMatchObject({ ...key, appId: made!.id })
      const other = { ...key, prefix: 'rsh_bbbbbbbb' }
      expect(await f.store.createApp('studio', T, { limits: { weight: 9 }, key: other })).toBeNull()
      expect(await f.store.findKey(other.prefix)).toBeNull()
      await expect(f.store.createApp('second', T, { key })).rejects.toThrow()
      expect(await f.store.findAppByName('second')).toBeNull()
      expect(await f.store.getApp(made!.id)).toEqual(made)
    })

    test('apps are listed by name', async () => {
      await using f = await fixture(open)
      const made = [await f.store.createApp('b', T), await f.store.createApp('a', T + 1)]
      expect(await f.store.listApps()).toEqual([made[1], await f.store.getApp(f.app), made[0]])
    })

    test('only the given limits of the given app change, and they are read anew', async () => {
      await using f = await fixture(open)
      const other = await f.store.getApp(await newApp(f.store))
      const first = await f.store.setLimits(f.app, { maxInFlight: 2, submitsPerMinute: 5, weight: 3 })
      expect(first!.limits).toEqual({ ...NONE, maxInFlight: 2, submitsPerMinute: 5, weight: 3 })
      const second = await f.store.setLimits(f.app, { maxInFlight: null, monthlyBudget: 1 })
      expect(second!.limits).toEqual({ ...NONE, submitsPerMinute: 5, monthlyBudget: 1, weight: 3 })
      expect(await f.store.setLimits(f.app, {})).toEqual(second)
      expect(await f.store.getApp(f.app)).toEqual(second)
      expect(await f.store.setLimits(UNKNOWN_ID as AppId, { weight: 2 })).toBeNull()
      expect(await f.store.getApp(other!.id)).toEqual(other)
    })

    test("an app's keys are shown oldest first, without their hashes", async () => {
      await using f = await fixture(open)
      await f.store.addKey(f.app, { prefix: 'rsh_b', hash: 'h1', expiresAt: null }, T + 1)
      await f.store.addKey(f.app, { prefix: 'rsh_c', hash: 'h2', expiresAt: T + 9 }, T)
      await f.store.addKey(await newApp(f.store), { prefix: 'rsh_a', hash: 'h3', expiresAt: null }, T)
      expect(await f.store.listKeys(f.app)).toEqual([
        { prefix: 'rsh_c', createdAt: T, expiresAt: T + 9 },
        { prefix: 'rsh_b', createdAt: T + 1, expiresAt: null },
      ])
    })

    test('rotation adds a key and lets the earlier ones expire, none of them later than before', async () => {
      await using f = await fixture(open)
      const other = await newApp(f.store)
      const key = (prefix: string, expiresAt: number | null) => ({ prefix, hash: prefix, expiresAt })
      const before = [key('ever', null), key('late', T + HOUR), key('soon', T + SECOND), key('gone', T)]
      for (const each of before) await f.store.addKey(f.app, each, T - 1)
      await f.store.addKey(other, key('other', null), T - 1)
      const ends = { ever: T + MINUTE, late: T + MINUTE, soon: T + SECOND }
      expect(await f.store.rotateKeys(f.app, key('new', null), T + MINUTE, T)).toEqual(
        Object.entries(ends).map(([prefix, expiresAt]) => ({ prefix, createdAt: T - 1, expiresAt })),
      )
      const remaining = await f.store.listKeys(f.app)
      expect(Object.fromEntries(remaining.map(each => [each.prefix, each.expiresAt]))).toEqual({
        ...ends,
        gone: T,
        new: null,
      })
      expect(await f.store.findKey('other')).toMatchObject({ expiresAt: null })
      // If the new key can't be added, the others do not expire.
      await expect(f.store.rotateKeys(f.app, key('other', null), T, T)).rejects.toThrow()
      expect(await f.store.listKeys(f.app)).toEqual(remaining)
    })

    test('revokeAllKeys revokes all keys of the app, and none of another', async () => {
      await using f = await fixture(open)
      const other = await newApp(f.store)
      for (const [appId, prefix] of [
        [f.app, 'a'],
        [other, 'b'],
        [f.app, 'c'],
      ] as const)
        await f.store.addKey(appId, { prefix, hash: prefix, expiresAt: null }, T)
      expect((await f.store.revokeAllKeys(f.app)).sort()).toEqual(['a', 'c'])
      expect(await f.store.revokeAllKeys(f.app)).toEqual([])
      expect((await f.store.listKeys(other)).map(key => key.prefix)).toEqual(['b'])
    })

    test('revokeKey removes that key, and no other', async () => {
      await using f = await fixture(open)
      for (const prefix of ['rsh_aaaaaaaa', 'rsh_bbbbbbbb'])
        await f.store.addKey(f.app, { prefix, hash: prefix, expiresAt: null }, T)
      expect(await f.store.revokeKey('rsh_aaaaaaaa')).toBe(true)
      expect(await f.store.revokeKey('rsh_aaaaaaaa')).toBe(false)
      expect(await f.store.findKey('rsh_aaaaaaaa')).toBeNull()
      expect(await f.store.findKey('rsh_bbbbbbbb')).toMatchObject({ appId: f.app })
    })

    test('a name can be taken once', async () => {
      await using f = await fixture(open)
      await f.store.createApp('studio', T)
      expect(await f.store.createApp('studio', T)).toBeNull()
      expect(await f.store.createApp('Studio', T)).not.toBeNull()
      expect(await f.store.countApps()).toBe(3)
    })

    test('a key is found by its prefix, with its app; an app may have several', async () => {
      await using f = await fixture(open)
      const one = { prefix: 'rsh_aaaaaaaa', hash: 'h1', expiresAt: null }
      const two = { prefix: 'rsh_bbbbbbbb', hash: 'h2', expiresAt: T + 1 }
      await f.store.addKey(f.app, one, T)
      await f.store.addKey(f.app, two, T)
      expect(await f.store.findKey(one.prefix)).toMatchObject({ ...one, appId: f.app })
      expect(await f.store.findKey(two.prefix)).toMatchObject({ ...two, appId: f.app })
      expect(await f.store.findKey('rsh_cccccccc')).toBeNull()
      expect(await f.store.findKey('rsh_aaaaaaa')).toBeNull()
    })

    test('a prefix belongs to one key, and a key to an app that exists', async () => {
      await using f = await fixture(open)
      const key = { prefix: 'rsh_aaaaaaaa', hash: 'h1', expiresAt: null }
      await f.store.addKey(f.app, key, T)
      await expect(f.store.addKey(await newApp(f.store), { ...key, hash: 'h2' }, T)).rejects.toThrow()
      await expect(f.store.addKey(UNKNOWN_ID as AppId, { ...key, prefix: 'rsh_b' }, T)).rejects.toThrow()
      expect(await f.store.findKey(key.prefix)).toMatchObject({ hash: 'h1', appId: f.app })
    })

    test('pruning deletes the keys that have expired, and no other', async () => {
      await using f = await fixture(open)
      for (const [prefix, expiresAt] of [
        ['old', T - 1],
        ['now', T],
        ['new', T + 1],
        ['ever', null],
      ] as const)
        await f.store.addKey(f.app, { prefix, hash: prefix, expiresAt }, T - HOUR)
      expect(await f.store.pruneKeys(T)).toBe(1)
      expect(await f.store.pruneKeys(T)).toBe(0)
      expect(await f.store.findKey('old')).toBeNull()
      for (const prefix of ['now', 'new', 'ever']) expect(await f.store.findKey(prefix)).not.toBeNull()
    })

    test('usage counts the jobs in flight, the queued ones and the cost of this month, of the app alone', async () => {
      await using f = await fixture(open)
      const mine = (now: number) => f.store.usage(fullScope(f.app), now)
      expect(await mine(T)).toEqual({ inFlight: 0, queued: 0, spent: 0 })
      await addPrediction(f.store, await newApp(f.store), T)
      const month = Date.UTC(2027, 0)
      const before = await addPrediction(f.store, f.app, month - 1)
      const [a, b, c] = await addPredictions(f.store, f.app, 3, month)
      await submitAll(f.store, T)
      await f.store.change(b!, () => ({ status: 'PROCESSING' }), T)
      await f.store.change(c!, () => ({ status: 'FAILED', cost: 0, tracking: null }), T)
      await addPrediction(f.store, f.app, T)
      await claimReadySubmits(f.store, T)
      await addPredictions(f.store, f.app, 2, T + MINUTE)
      // Four are in flight: the earlier one, a, b and the begun one. Two wait.
      expect(await mine(T)).toEqual({ inFlight: 4, queued: 2, spent: 5 * PRICE })
      expect(await mine(month - 1)).toMatchObject({ spent: PRICE })
      expect(await mine(Date.UTC(2027, 1))).toMatchObject({ inFlight: 4, queued: 2, spent: 0 })
      expect(await f.store.getMany(fullScope(f.app), [before.id, a!])).toMatchObject([
        { status: 'CREATED' },
        { status: 'CREATED' },
      ])
    })
  })

  test('a database keeps the first upstream it is bound to', async () => {
    await using f = await fixture(open)
    expect(await f.store.bindUpstream('https://api.wavespeed.ai')).toBe('https://api.wavespeed.ai')
    expect(await f.store.bindUpstream('the simulator')).toBe('https://api.wavespeed.ai')
  })

  test('every database has an epoch and a cursor key of its own', async () => {
    await using a = await fixture(open)
    await using b = await fixture(open)
    expect(a.store.epoch).toHaveLength(8)
    expect(a.store.cursorKey).toHaveLength(16)
    expect(a.store.epoch).not.toEqual(b.store.epoch)
    expect(a.store.cursorKey).not.toEqual(b.store.cursorKey)
  })

  test('a closed store does not answer', async () => {
    const f = await fixture(open)
    await f.store.ping()
    await f.store.close()
    await expect(f.store.ping()).rejects.toThrow()
  })
})
