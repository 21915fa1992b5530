import { expect, test } from 'vitest'
import type { AppId } from '../../../src/domain/prediction.ts'
import { createUploadSlots } from '../../../src/server/uploads/upload-slots.ts'

const [a, b, c, d] = ['a', 'b', 'c', 'd'] as AppId[] as [AppId, AppId, AppId, AppId]
const never = new AbortController().signal
const SLOTS = { total: 4, perApp: 2, reserved: 2 }

/** Who has come in, in order. */
function fixture() {
  const uploadSlots = createUploadSlots(SLOTS)
  const admitted: string[] = []
  return {
    admitted: admitted,
    take: (app: AppId, signal = never) =>
      uploadSlots.acquire(app, signal).then(release => {
        admitted.push(app)
        return release
      }),
    /** Whoever can come in has. */
    settled: () => new Promise(setImmediate),
  }
}

test('an app has its share, and the next of it waits until one has left', async () => {
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

test('however much the others have and want, an app that has none comes in', async () => {
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

test('where all are taken even such a one waits, and comes in before whoever has one', async () => {
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

test('whoever goes away while it waits takes no berth, and leaves nothing behind', async () => {
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

test('a berth that is given back twice is one', async () => {
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
