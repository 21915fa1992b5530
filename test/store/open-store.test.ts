import { expect, test } from 'vitest'
import { StartupError } from '../../src/domain/errors.ts'
import { openStore } from '../../src/store/open-store.ts'

test('a URL in memory opens a store of its own', async () => {
  const stores = [await openStore('file::memory:', () => {}), await openStore('file::memory:', () => {})]
  for (const [i, store] of stores.entries()) {
    expect(await store.countApps()).toBe(0)
    await store.createApp(`app ${i}`, 0)
  }
  for (const store of stores) await store.close()
})

test.each([
  ['postgres://localhost/rushes', 'DATABASE_URL: PostgreSQL is not supported yet; use file:PATH.'],
  ['mysql://localhost/rushes', 'DATABASE_URL: expected file:PATH, as in file:data/rushes.db.'],
])('%s is refused with a sentence that says what is supported', async (url, sentence) => {
  await expect(openStore(url, () => {})).rejects.toThrow(new StartupError(sentence))
})

test('a bug does not become a sentence for the operator', async () => {
  const store = await openStore('file::memory:', () => {})
  const bug = new TypeError('a bug')
  expect(store.toStartupError(bug)).toBe(bug)
  await store.close()
})
