import { expect, test } from 'vitest'
import type { AppId } from '../../../src/domain/prediction.ts'
import { createUploadSlots } from '../../../src/server/uploads/upload-slots.ts'

const [a, b, c, d] = ['a', 'b', 'c', 'd'] as AppId[] as [AppId, AppId, AppId, AppId]
const never = new AbortController().signal
const SLOTS = { total: 4, perApp: 2, reserved: 2 }

/** Apps in the order in which they got a slot. */
function fixture() {
  const uploadSlots = createUploadSlots(SLOTS)
  const admitted: string[] = []
  return {
    admitted,
    take: (app: AppId, signal = never) =>
      uploadSlots.acquire(app, signal).then(release => {
        admitted.push(app)
        return release
      }),
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
