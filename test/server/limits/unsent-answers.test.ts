import { EventEmitter } from 'node:events'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { createUnsentAnswers, type UnsentAnswers } from '../../../src/server/limits/unsent-answers.ts'

const MIB = 1024 * 1024

let unsentAnswers: UnsentAnswers
const warn = vi.fn()

beforeEach(() => {
  vi.useFakeTimers()
  warn.mockClear()
  unsentAnswers = createUnsentAnswers({ warn })
})
afterEach(() => {
  unsentAnswers.close()
  vi.useRealTimers()
})

/** A connection with so many unsent bytes, and whether it was ended. */
function connect(unsentBytes: number) {
  const socket = Object.assign(new EventEmitter(), {
    writableLength: unsentBytes,
    isEnded: false,
    destroy() {
      socket.isEnded = true
      socket.emit('close')
    },
  })
  unsentAnswers.add(socket as never)
  return socket
}

test('up to 32 MiB of large answers wait for their clients', () => {
  const sockets = Array.from({ length: 6 }, () => connect(5 * MIB))
  vi.advanceTimersByTime(1000)
  expect(sockets.map(({ isEnded }) => isEnded)).toEqual(sockets.map(() => false))
  expect(warn).not.toHaveBeenCalled()
})

test('above it the connections with the largest are ended, and no more than needed', () => {
  const small = connect(MIB)
  const large = Array.from({ length: 8 }, () => connect(5 * MIB))
  vi.advanceTimersByTime(1000)
  expect(large.filter(({ isEnded }) => isEnded)).toHaveLength(2)
  expect(small.isEnded).toBe(false)
  expect(warn.mock.calls).toEqual([[{ connections: 2 }, expect.any(String)]])
})

test('subscriptions that wait for their clients do not count', () => {
  const sockets = Array.from({ length: 1000 }, () => connect(300 * 1024))
  vi.advanceTimersByTime(1000)
  expect(sockets.some(({ isEnded }) => isEnded)).toBe(false)
})

test('a connection that has closed does not count', () => {
  const sockets = Array.from({ length: 8 }, () => connect(5 * MIB))
  for (const socket of sockets.slice(0, 4)) socket.emit('close')
  vi.advanceTimersByTime(1000)
  expect(sockets.some(({ isEnded }) => isEnded)).toBe(false)
})
