import { describe, expect, test } from 'vitest'
import { createAttempts, createIdempotencyKey } from '../../src/dashboard/attempts.ts'

const MINUTE = 60_000

describe('an attempt', () => {
  function fixture() {
    let at = 0
    const keys: string[] = []
    const attempts = createAttempts(() => at)
    return {
      keys,
      pass: (ms: number) => {
        at += ms
      },
      ask: (request: string, isLost = false) =>
        attempts
          .run(request, async key => {
            keys.push(key)
            if (isLost) throw new Error('no answer')
            return 'answer'
          })
          .catch(() => null),
    }
  }

  test('without an answer keeps its key, however long that takes', async () => {
    const f = fixture()
    await f.ask('a', true)
    f.pass(60 * MINUTE)
    await f.ask('b')
    await f.ask('a', true)
    await f.ask('a')
    expect([f.keys[2], f.keys[3]]).toEqual([f.keys[0], f.keys[0]])
    expect(f.keys[1]).not.toBe(f.keys[0])
  })

  test('with an answer keeps its key while it is repeated, and then no longer', async () => {
    const f = fixture()
    // A keyboard key that is held down for seconds.
    for (let n = 0; n < 100; n++) {
      await f.ask('a')
      f.pass(50)
    }
    expect(new Set(f.keys).size).toBe(1)
    f.pass(1500)
    await f.ask('a')
    expect(new Set(f.keys).size).toBe(2)
  })
})

test('each attempt has a unique key, without crypto.randomUUID', () => {
  const keys = Array.from({ length: 100 }, createIdempotencyKey)
  expect(new Set(keys)).toHaveLength(100)
  expect(keys[0]).toMatch(/^[\da-f]{32}$/)
})
