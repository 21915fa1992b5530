import { describe, expect, test } from 'vitest'
import type { AppId } from '../src/prediction.ts'
import {
  add,
  addMany,
  ENGINES,
  fixture,
  HOUR,
  MINUTE,
  NOBODY,
  newApp,
  PRICE,
  SECOND,
  sendAll,
  submits,
  T,
} from './support/store.ts'

describe.each(ENGINES)('%s', (_, open) => {
  describe('apps, keys and usage', () => {
    test('an app is found by its id and by its name, with no limits of its own at first', async () => {
      await using f = await fixture(open)
      const made = await f.store.createApp('studio', T)
      expect(made).toEqual({
        id: expect.stringMatching(/^[\da-f-]{36}$/),
        name: 'studio',
        limits: {
          maxInFlight: null,
          maxQueued: null,
          submitsPerMinute: null,
          monthlyBudget: null,
          weight: 1,
        },
      })
      expect(await f.store.app(made!.id)).toEqual(made)
      expect(await f.store.appNamed('studio')).toEqual(made)
      expect(await f.store.app(NOBODY as AppId)).toBeNull()
      expect(await f.store.appNamed('nobody')).toBeNull()
      expect(await f.store.countApps()).toBe(2)
    })

    test('a key that is revoked is gone, and no other', async () => {
      await using f = await fixture(open)
      for (const prefix of ['rsh_aaaaaaaa', 'rsh_bbbbbbbb'])
        await f.store.addKey(f.app, { prefix, hash: prefix, expiresAt: null }, T)
      expect(await f.store.revokeKey('rsh_aaaaaaaa')).toBe(true)
      expect(await f.store.revokeKey('rsh_aaaaaaaa')).toBe(false)
      expect(await f.store.findKey('rsh_aaaaaaaa')).toBeNull()
      expect(await f.store.findKey('rsh_bbbbbbbb')).toMatchObject({ appId: f.app })
    })

    test('a name is taken once', async () => {
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
      await expect(f.store.addKey(NOBODY as AppId, { ...key, prefix: 'rsh_b' }, T)).rejects.toThrow()
      expect(await f.store.findKey(key.prefix)).toMatchObject({ hash: 'h1', appId: f.app })
    })

    test('pruning takes the keys that have expired, and none that lasts', async () => {
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

    test('usage counts what is in flight, what waits and what was spent since, of the app alone', async () => {
      await using f = await fixture(open)
      expect(await f.store.usage(f.app, T)).toEqual({ inFlight: 0, queued: 0, spent: 0 })
      await add(f.store, await newApp(f.store), T)
      const before = await add(f.store, f.app, T - 1)
      const [a, b, c] = await addMany(f.store, f.app, 3)
      await sendAll(f.store, T + SECOND)
      await f.store.change(b!, () => ({ status: 'PROCESSING' }), T + SECOND)
      await f.store.change(c!, () => ({ status: 'FAILED', cost: 0, following: null }), T + SECOND)
      await add(f.store, f.app, T + SECOND)
      await submits(f.store, T + SECOND)
      await addMany(f.store, f.app, 2, T + MINUTE)
      // In flight: the one from before, a, b, and the one begun; two wait.
      expect(await f.store.usage(f.app, T)).toEqual({ inFlight: 4, queued: 2, spent: 5 * PRICE })
      expect(await f.store.usage(f.app, T - 1)).toMatchObject({ spent: 6 * PRICE })
      expect(await f.store.usage(f.app, T + HOUR)).toMatchObject({ inFlight: 4, queued: 2, spent: 0 })
      expect(await f.store.getMany(f.app, [before.id, a!])).toMatchObject([
        { status: 'CREATED' },
        { status: 'CREATED' },
      ])
    })
  })

  test('the first upstream a database is bound to is its upstream', async () => {
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
