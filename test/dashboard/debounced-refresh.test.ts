import { afterEach, expect, test, vi } from 'vitest'
import { createDebouncedRefresh } from '../../src/dashboard/debounced-refresh.ts'

afterEach(() => {
  vi.useRealTimers()
})

test('a debounced refresh runs once for many triggers, again for one during a run, and repeats while asked to', async () => {
  vi.useFakeTimers()
  let runs = 0
  let shouldRepeat = false
  let finish: () => void = () => {}
  const refresh = createDebouncedRefresh(
    () => {
      runs++
      return new Promise(resolve => {
        finish = () => resolve(shouldRepeat)
      })
    },
    500,
    5000,
  )
  refresh.trigger()
  refresh.trigger()
  await vi.advanceTimersByTimeAsync(499)
  expect(runs).toBe(0)
  await vi.advanceTimersByTimeAsync(1)
  expect(runs).toBe(1)
  refresh.trigger()
  await vi.advanceTimersByTimeAsync(60_000)
  expect(runs).toBe(1)
  finish()
  await vi.advanceTimersByTimeAsync(500)
  expect(runs).toBe(2)
  shouldRepeat = true
  finish()
  await vi.advanceTimersByTimeAsync(4999)
  expect(runs).toBe(2)
  // A trigger does not wait for the next repetition.
  refresh.trigger()
  await vi.advanceTimersByTimeAsync(500)
  expect(runs).toBe(3)
  finish()
  await vi.advanceTimersByTimeAsync(5000)
  expect(runs).toBe(4)
  shouldRepeat = false
  finish()
  await vi.advanceTimersByTimeAsync(60_000)
  expect(runs).toBe(4)
  refresh.trigger()
  refresh.stop()
  await vi.advanceTimersByTimeAsync(60_000)
  expect(runs).toBe(4)
})
