import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { TokenBucket } from '../../../src/server/limits/token-bucket.ts'

beforeEach(() => void vi.useFakeTimers({ toFake: ['performance'] }))
afterEach(() => void vi.useRealTimers())

const takeAll = (bucket: TokenBucket) => {
  let taken = 0
  while (bucket.tryTake()) taken++
  return taken
}

test('holds the tokens of one second, and gets them back at its rate', () => {
  const bucket = new TokenBucket(10)
  expect(takeAll(bucket)).toBe(10)
  vi.advanceTimersByTime(250)
  expect(takeAll(bucket)).toBe(2)
  vi.advanceTimersByTime(50)
  expect(takeAll(bucket)).toBe(1)
  vi.advanceTimersByTime(60_000)
  expect(takeAll(bucket)).toBe(10)
})

test('an overdrawn bucket gives no token until the overdraft is refilled', () => {
  const bucket = new TokenBucket(10)
  for (let i = 0; i < 15; i++) bucket.take()
  expect(bucket.isOverdrawn).toBe(true)
  vi.advanceTimersByTime(500)
  expect([bucket.tryTake(), bucket.isOverdrawn]).toEqual([false, false])
  vi.advanceTimersByTime(100)
  expect(bucket.tryTake()).toBe(true)
})

test('whenRefilled resolves at once unless the bucket is overdrawn, and then once it no longer is', async () => {
  vi.useRealTimers()
  const bucket = new TokenBucket(1000)
  await bucket.whenRefilled()
  for (let i = 0; i < 1050; i++) bucket.take()
  expect(bucket.isOverdrawn).toBe(true)
  await bucket.whenRefilled()
  expect(bucket.isOverdrawn).toBe(false)
})
