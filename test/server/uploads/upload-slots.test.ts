import { expect, test } from 'vitest'
import type { AppId } from '../../../src/domain/prediction.ts'
import {
  createUploadSlots,
  type SlotHolder,
  type UploadSlotsOptions,
} from '../../../src/server/uploads/upload-slots.ts'

const [a, b, c, d] = ['a', 'b', 'c', 'd'] as AppId[] as [AppId, AppId, AppId, AppId]
const never = new AbortController().signal
const SLOTS = {
  total: 4,
  perApp: 2,
  perNetwork: 2,
  perToken: 1,
  reserved: 2,
  maxBytesPerApp: 100,
  maxBytesPerNetwork: 50,
}

/** Apps in the order in which they got a slot. */
function fixture(options: Partial<UploadSlotsOptions> = {}) {
  const uploadSlots = createUploadSlots({ ...SLOTS, ...options })
  const admitted: string[] = []
  const takeAs = (holder: SlotHolder, signal = never) =>
    uploadSlots.acquire(holder, signal).then(release => {
      admitted.push(holder.token === null ? holder.app : `${holder.app} ${holder.token}`)
      return release
    })
  return {
    admitted,
    take: (app: AppId, signal = never) =>
      takeAs({ app, token: null, network: '10.0.0.1', bytes: 10 }, signal),
    takeAs,
    /** Resolves once every upload that can get a slot has it. */
    settled: () => new Promise(setImmediate),
  }
}

test('an app has its share of slots; its next upload waits until one is released', async () => {
  const f = fixture()
  const first = await f.take(a)
  await f.take(a)
  const third = f.take(a)
  await f.settled()
  expect(f.admitted).toEqual(['a', 'a'])
  first()
  await third
  expect(f.admitted).toEqual(['a', 'a', 'a'])
})

test('an app without a slot gets a reserved one, however many uploads of the others wait', async () => {
  const f = fixture()
  await f.take(a)
  await f.take(a)
  for (let n = 0; n < 5; n++) void f.take(a)
  await f.take(b)
  void f.take(b)
  await f.take(c)
  await f.settled()
  expect(f.admitted).toEqual(['a', 'a', 'b', 'c'])
})

test('if all slots are taken, an app without one waits, and goes before an app that has one', async () => {
  const f = fixture()
  const release = await f.take(a)
  for (const app of [a, b, c]) await f.take(app)
  void f.take(a)
  const last = f.take(d)
  await f.settled()
  expect(f.admitted).toHaveLength(4)
  release()
  await last
  expect(f.admitted.slice(4)).toEqual(['d'])
})

test('an upload that is aborted while it waits takes no slot, and leaves nothing behind', async () => {
  const f = fixture()
  const release = await f.take(a)
  await f.take(a)
  const aborter = new AbortController()
  const aborted = f.take(a, aborter.signal)
  const next = f.take(a)
  aborter.abort()
  await expect(aborted).rejects.toThrow()
  release()
  await next
  expect(f.admitted).toEqual(['a', 'a', 'a'])
  await expect(f.take(b, aborter.signal)).rejects.toThrow()
})

test('a slot that is released twice is released once', async () => {
  const f = fixture()
  const release = await f.take(a)
  await f.take(a)
  release()
  release()
  await f.take(a)
  void f.take(a)
  await f.settled()
  expect(f.admitted).toEqual(['a', 'a', 'a'])
})

test('a token has one slot of its app; its next upload waits, and uploads of other callers do not wait for it', async () => {
  const f = fixture()
  const first = await f.takeAs({ app: a, token: 's', network: '10.0.0.1', bytes: 10 })
  const second = f.takeAs({ app: a, token: 's', network: '10.0.0.2', bytes: 10 })
  await f.settled()
  const other = await f.takeAs({ app: a, token: 't', network: '10.0.0.2', bytes: 10 })
  expect(f.admitted).toEqual(['a s', 'a t'])
  other()
  await f.take(a)
  expect(f.admitted).toEqual(['a s', 'a t', 'a'])
  first()
  await second
  expect(f.admitted).toEqual(['a s', 'a t', 'a', 'a s'])
})

test('the tokens of one network leave a slot of their app to others', async () => {
  const f = fixture({ total: 6, perApp: 3 })
  for (const token of ['s', 't']) await f.takeAs({ app: a, token, network: '10.0.0.1', bytes: 10 })
  void f.takeAs({ app: a, token: 'u', network: '10.0.0.1', bytes: 10 })
  await f.takeAs({ app: a, token: 'v', network: '10.0.0.2', bytes: 10 })
  expect(f.admitted).toEqual(['a s', 'a t', 'a v'])
})

test('long forms wait for the bytes of their app, and of their network if a token sends them', async () => {
  const f = fixture({ total: 6, perApp: 4 })
  const first = await f.takeAs({ app: a, token: 's', network: '10.0.0.1', bytes: 50 })
  const second = f.takeAs({ app: a, token: 't', network: '10.0.0.1', bytes: 1 })
  await f.takeAs({ app: a, token: 'u', network: '10.0.0.2', bytes: 50 })
  const third = f.takeAs({ app: a, token: null, network: '10.0.0.3', bytes: 49 })
  await f.settled()
  expect(f.admitted).toEqual(['a s', 'a u'])
  first()
  await Promise.all([second, third])
  expect(f.admitted).toEqual(['a s', 'a u', 'a t', 'a'])
})
