import { getEventListeners } from 'node:events'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { createWakeSignal, type Waiter } from '../../src/runtime/wake-signal.ts'

const LONG_MS = 60_000

beforeEach(() => {
  vi.useFakeTimers()
})
afterEach(() => {
  vi.useRealTimers()
})

/** Starts a wait; `over` says whether it has ended. */
function startWaiting(waiter: Waiter, ms = LONG_MS, signal?: AbortSignal) {
  const state = { over: false }
  void waiter.wait(ms, signal).then(() => {
    state.over = true
  })
  return state
}
/** Lets settled promises run their callbacks. */
const settle = () => vi.advanceTimersByTimeAsync(0)

test('notify ends the wait and leaves no timer behind', async () => {
  const wakeSignal = createWakeSignal()
  const wait = startWaiting(wakeSignal.createWaiter())
  await settle()
  expect(wait.over).toBe(false)
  wakeSignal.notify()
  await settle()
  expect(wait.over).toBe(true)
  expect(vi.getTimerCount()).toBe(0)
})

test('a notification between createWaiter() and wait() is not lost', async () => {
  const wakeSignal = createWakeSignal()
  const waiter = wakeSignal.createWaiter()
  wakeSignal.notify()
  const wait = startWaiting(waiter)
  await settle()
  expect(wait.over).toBe(true)
  expect(vi.getTimerCount()).toBe(0)
})

test('wake() ends the wait of one waiter, before or after it has begun to wait', async () => {
  const wakeSignal = createWakeSignal()
  const [waiter, early, other] = [
    wakeSignal.createWaiter(),
    wakeSignal.createWaiter(),
    wakeSignal.createWaiter(),
  ]
  early.wake()
  const waits = [waiter, early, other].map(each => startWaiting(each))
  waiter.wake()
  await settle()
  expect(waits.map(({ over }) => over)).toEqual([true, true, false])
  wakeSignal.notify()
  await settle()
  expect(vi.getTimerCount()).toBe(0)
})

test('a notification before createWaiter() does not end the wait', async () => {
  const wakeSignal = createWakeSignal()
  wakeSignal.notify()
  const wait = startWaiting(wakeSignal.createWaiter())
  await settle()
  expect(wait.over).toBe(false)
  wakeSignal.notify()
})

test('notify ends the wait of every waiter, whether it already waits or not', async () => {
  const wakeSignal = createWakeSignal()
  const early = startWaiting(wakeSignal.createWaiter())
  const waiter = wakeSignal.createWaiter()
  wakeSignal.notify()
  const late = startWaiting(waiter)
  await settle()
  expect([early.over, late.over]).toEqual([true, true])
})

test('a waiter that is created after a notification waits for the next one', async () => {
  const wakeSignal = createWakeSignal()
  const wakeUps: number[] = []
  const follow = async (n: number): Promise<void> => {
    await wakeSignal.createWaiter().wait(LONG_MS)
    wakeUps.push(n)
    if (n < 3) await follow(n + 1)
  }
  const done = follow(1)
  wakeSignal.notify()
  await settle()
  expect(wakeUps).toEqual([1])
  wakeSignal.notify()
  await settle()
  wakeSignal.notify()
  await done
  expect(wakeUps).toEqual([1, 2, 3])
})

test('a waiter waits again and again, and a notification between two waits is not lost', async () => {
  const wakeSignal = createWakeSignal()
  const waiter = wakeSignal.createWaiter()
  const first = startWaiting(waiter)
  wakeSignal.notify()
  await settle()
  expect(first.over).toBe(true)

  wakeSignal.notify()
  const second = startWaiting(waiter)
  await settle()
  expect(second.over).toBe(true)

  const third = startWaiting(waiter)
  await settle()
  expect(third.over).toBe(false)
  wakeSignal.notify()
  await settle()
  expect(third.over).toBe(true)
  expect(vi.getTimerCount()).toBe(0)
})

test('without a notification the wait ends after its time-out and not before', async () => {
  const wait = startWaiting(createWakeSignal().createWaiter(), 200)
  await vi.advanceTimersByTimeAsync(199)
  expect(wait.over).toBe(false)
  await vi.advanceTimersByTimeAsync(1)
  expect(wait.over).toBe(true)
})

test('an abort signal ends the wait, early or late, and keeps no listener', async () => {
  const wakeSignal = createWakeSignal()
  const aborter = new AbortController()
  const wait = startWaiting(wakeSignal.createWaiter(), LONG_MS, aborter.signal)
  await settle()
  expect(wait.over).toBe(false)
  aborter.abort()
  await settle()
  expect(wait.over).toBe(true)
  const after = startWaiting(wakeSignal.createWaiter(), LONG_MS, aborter.signal)
  await settle()
  expect(after.over).toBe(true)
  expect(vi.getTimerCount()).toBe(0)
  expect(getEventListeners(aborter.signal, 'abort')).toEqual([])
})

test('a wait that was ended by a notification or its time-out leaves no listener on its abort signal', async () => {
  const wakeSignal = createWakeSignal()
  const { signal } = new AbortController()
  for (let i = 0; i < 3; i++) {
    const notified = wakeSignal.createWaiter().wait(LONG_MS, signal)
    wakeSignal.notify()
    await notified
    const timed = wakeSignal.createWaiter().wait(10, signal)
    await vi.advanceTimersByTimeAsync(10)
    await timed
  }
  expect(getEventListeners(signal, 'abort')).toEqual([])
})

test('a canceled waiter is not notified', async () => {
  const wakeSignal = createWakeSignal()
  const waiter = wakeSignal.createWaiter()
  waiter.cancel()
  wakeSignal.notify()
  const wait = startWaiting(waiter, 200)
  await settle()
  expect(wait.over).toBe(false)
  await vi.advanceTimersByTimeAsync(200)
  expect(wait.over).toBe(true)
})

test('cancel() after the wait, twice or without effect, does not affect other waiters', async () => {
  const wakeSignal = createWakeSignal()
  const waiter = wakeSignal.createWaiter()
  const other = startWaiting(wakeSignal.createWaiter())
  waiter.cancel()
  waiter.cancel()
  wakeSignal.notify()
  await settle()
  expect(other.over).toBe(true)
  waiter.cancel()
})
