import { getEventListeners } from 'node:events'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { type Armed, createBell } from '../../src/runtime/wake-signal.ts'

const LONG = 60_000

beforeEach(() => {
  vi.useFakeTimers()
})
afterEach(() => {
  vi.useRealTimers()
})

/** The wait, and whether it is over. */
function waiting(armed: Armed, ms = LONG, signal?: AbortSignal) {
  const state = { over: false }
  void armed.rung(ms, signal).then(() => {
    state.over = true
  })
  return state
}
/** Lets every promise that is settled be heard. */
const settle = () => vi.advanceTimersByTimeAsync(0)

test('a ring ends the wait, and leaves no timer behind', async () => {
  const bell = createBell()
  const wait = waiting(bell.arm())
  await settle()
  expect(wait.over).toBe(false)
  bell.ring()
  await settle()
  expect(wait.over).toBe(true)
  expect(vi.getTimerCount()).toBe(0)
})

test('a ring between arm and rung is not lost', async () => {
  const bell = createBell()
  const armed = bell.arm()
  bell.ring()
  const wait = waiting(armed)
  await settle()
  expect(wait.over).toBe(true)
  expect(vi.getTimerCount()).toBe(0)
})

test('one that is woken hears it alone, waiting yet or not', async () => {
  const bell = createBell()
  const [armed, early, other] = [bell.arm(), bell.arm(), bell.arm()]
  early.wake()
  const waits = [armed, early, other].map(each => waiting(each))
  armed.wake()
  await settle()
  expect(waits.map(({ over }) => over)).toEqual([true, true, false])
  bell.ring()
  await settle()
  expect(vi.getTimerCount()).toBe(0)
})

test('a ring before arm is not heard', async () => {
  const bell = createBell()
  bell.ring()
  const wait = waiting(bell.arm())
  await settle()
  expect(wait.over).toBe(false)
  bell.ring()
})

test('everyone who is armed is woken, whether waiting yet or not', async () => {
  const bell = createBell()
  const early = waiting(bell.arm())
  const armed = bell.arm()
  bell.ring()
  const late = waiting(armed)
  await settle()
  expect([early.over, late.over]).toEqual([true, true])
})

test('whoever arms again at a ring waits for the next one', async () => {
  const bell = createBell()
  const rings: number[] = []
  const follow = async (n: number): Promise<void> => {
    await bell.arm().rung(LONG)
    rings.push(n)
    if (n < 3) await follow(n + 1)
  }
  const done = follow(1)
  bell.ring()
  await settle()
  expect(rings).toEqual([1])
  bell.ring()
  await settle()
  bell.ring()
  await done
  expect(rings).toEqual([1, 2, 3])
})

test('without a ring the wait ends after its time, and not before', async () => {
  const wait = waiting(createBell().arm(), 200)
  await vi.advanceTimersByTimeAsync(199)
  expect(wait.over).toBe(false)
  await vi.advanceTimersByTimeAsync(1)
  expect(wait.over).toBe(true)
})

test('a signal ends the wait, be it early or late, and nothing is left on it', async () => {
  const bell = createBell()
  const leaving = new AbortController()
  const wait = waiting(bell.arm(), LONG, leaving.signal)
  await settle()
  expect(wait.over).toBe(false)
  leaving.abort()
  await settle()
  expect(wait.over).toBe(true)
  const after = waiting(bell.arm(), LONG, leaving.signal)
  await settle()
  expect(after.over).toBe(true)
  expect(vi.getTimerCount()).toBe(0)
  expect(getEventListeners(leaving.signal, 'abort')).toEqual([])
})

test('a wait that a ring or its time has ended leaves nothing on its signal', async () => {
  const bell = createBell()
  const { signal } = new AbortController()
  for (let i = 0; i < 3; i++) {
    const rung = bell.arm().rung(LONG, signal)
    bell.ring()
    await rung
    const timed = bell.arm().rung(10, signal)
    await vi.advanceTimersByTimeAsync(10)
    await timed
  }
  expect(getEventListeners(signal, 'abort')).toEqual([])
})

test('disarmed, it hears no ring', async () => {
  const bell = createBell()
  const armed = bell.arm()
  armed.disarm()
  bell.ring()
  const wait = waiting(armed, 200)
  await settle()
  expect(wait.over).toBe(false)
  await vi.advanceTimersByTimeAsync(200)
  expect(wait.over).toBe(true)
})

test('disarming after the wait, twice or for nothing harms nobody else', async () => {
  const bell = createBell()
  const armed = bell.arm()
  const other = waiting(bell.arm())
  armed.disarm()
  armed.disarm()
  bell.ring()
  await settle()
  expect(other.over).toBe(true)
  armed.disarm()
})
