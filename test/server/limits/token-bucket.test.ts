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
  const isOverdrawn = Array.from({ length: 15 }, () => bucket.take())
  expect(isOverdrawn).toEqual(isOverdrawn.map((_, i) => i >= 10))
  vi.advanceTimersByTime(500)
  expect(bucket.tryTake()).toBe(false)
  vi.advanceTimersByTime(100)
  expect(bucket.tryTake()).toBe(true)
})

test('whenRefilled resolves at once unless the bucket is overdrawn, and then once it no longer is', async () => {
  vi.useRealTimers()
  const bucket = new TokenBucket(1000)
  await bucket.whenRefilled()
  const startedAt = performance.now()
  for (let i = 0; i < 1050; i++) bucket.take()
  expect(bucket.take()).toBe(true)
  await bucket.whenRefilled()
  await bucket.whenRefilled()
  expect(performance.now() - startedAt).toBeGreaterThan(40)
})
