import { expect, test } from 'vitest'
import { parseKey } from '../../src/auth/api-key.ts'
import { issueKey } from '../../src/auth/issue-key.ts'
import { ENGINES } from '../support/engines.ts'
import { fixture, T } from '../support/store.ts'

test.each(ENGINES)(
  'on %s a key is added to the app of its name, which is created if missing',
  async (_, { open }) => {
    await using stored = await fixture(open)
    const { store } = stored
    const keys = new Map([
      [await issueKey(store, 'web', T + 1000, T), T + 1000],
      [await issueKey(store, 'web', T + 2000, T), T + 2000],
    ])
    const apps = (await store.listApps()).filter(({ name }) => name === 'web')
    expect(apps).toHaveLength(1)
    for (const [key, expiresAt] of keys) {
      const { prefix, hash } = parseKey(key)!
      expect(await store.findKey(prefix)).toMatchObject({ appId: apps[0]!.id, hash, expiresAt })
    }
    expect(keys.size).toBe(2)
  },
)
