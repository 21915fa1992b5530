import { describe, expect, test } from 'vitest'
import { createPollCircuit } from '../../src/workers/poll-circuit.ts'

describe('the poll circuit', () => {
  const createAt = (clock: { now: number }) => createPollCircuit(() => clock.now)

  test('opens after five failures in a row, and no sooner', () => {
    const pollCircuit = createAt({ now: 0 })
    for (let n = 0; n < 4; n++) pollCircuit.recordFailure(null)
    pollCircuit.recordSuccess()
    for (let n = 0; n < 4; n++) pollCircuit.recordFailure(null)
    expect([pollCircuit.isOpen, pollCircuit.limitPolls(100)]).toEqual([false, 100])
    pollCircuit.recordFailure(null)
    expect([pollCircuit.isOpen, pollCircuit.limitPolls(100)]).toEqual([true, 0])
  })

  test('lets one poll through at a time, each after twice the wait of the one before, up to a minute', () => {
    const clock = { now: 0 }
    const pollCircuit = createAt(clock)
    for (let n = 0; n < 5; n++) pollCircuit.recordFailure(null)
    const waits: number[] = []
    for (let n = 0; n < 9; n++) {
      const closed = clock.now
      while (pollCircuit.limitPolls(100) === 0) clock.now += 100
      waits.push(clock.now - closed)
      expect(pollCircuit.limitPolls(100)).toBe(1)
      pollCircuit.recordStart()
      expect(pollCircuit.limitPolls(100)).toBe(0)
      pollCircuit.recordFailure(null)
    }
    expect(waits).toEqual([1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000])
  })

  test('a poll that was under way when it opened does not count', () => {
    const clock = { now: 0 }
    const pollCircuit = createAt(clock)
    for (let n = 0; n < 100; n++) pollCircuit.recordFailure(null)
    clock.now = 1000
    expect(pollCircuit.limitPolls(100)).toBe(1)
  })

  test('waits as long as upstream asks, at most a minute', () => {
    for (const [requestedMs, expectedMs] of [
      [30_000, 30_000],
      [3_600_000, 60_000],
    ] as const) {
      const clock = { now: 0 }
      const pollCircuit = createAt(clock)
      for (let n = 0; n < 5; n++) pollCircuit.recordFailure(requestedMs)
      clock.now = expectedMs - 1
      expect(pollCircuit.limitPolls(1)).toBe(0)
      clock.now = expectedMs
      expect(pollCircuit.limitPolls(1)).toBe(1)
    }
  })

  test('one success closes it, and resets the waits', () => {
    const clock = { now: 0 }
    const pollCircuit = createAt(clock)
    for (let n = 0; n < 5; n++) pollCircuit.recordFailure(null)
    clock.now = 1000
    pollCircuit.recordStart()
    pollCircuit.recordFailure(null)
    pollCircuit.recordSuccess()
    expect(pollCircuit.limitPolls(100)).toBe(100)
    for (let n = 0; n < 5; n++) pollCircuit.recordFailure(null)
    clock.now = 2000
    expect(pollCircuit.limitPolls(100)).toBe(1)
  })

  test('a poll that never returns does not block it', () => {
    const clock = { now: 0 }
    const pollCircuit = createAt(clock)
    for (let n = 0; n < 5; n++) pollCircuit.recordFailure(null)
    clock.now = 1000
    pollCircuit.recordStart()
    clock.now += 60_000
    expect(pollCircuit.limitPolls(100)).toBe(1)
  })
})
