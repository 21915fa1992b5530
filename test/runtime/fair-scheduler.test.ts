import { performance } from 'node:perf_hooks'
import { expect, test } from 'vitest'
import { createTurns } from '../../src/runtime/fair-scheduler.ts'

const busy = (ms: number) => {
  const end = performance.now() + ms
  while (performance.now() < end);
}

test('long work leaves room for others between its slices', async () => {
  const turns = createTurns()
  let passes = 0
  let working = true
  const others = () => {
    passes++
    if (working) setImmediate(others)
  }
  setImmediate(others)
  for (let i = 0; i < 200; i++) {
    await turns.next('a')
    busy(0.5)
  }
  working = false
  // 100 ms of work, in slices of 5.
  expect(passes).toBeGreaterThanOrEqual(15)
})

test('two works that ask for turns get them in turn', async () => {
  const turns = createTurns()
  const order: string[] = []
  const work = async (name: string) => {
    for (let i = 0; i < 20; i++) {
      await turns.next('one')
      order.push(name)
      busy(0.5)
    }
  }
  await Promise.all([work('a'), work('b')])
  expect(order.join('')).toBe('ab'.repeat(20))
})

test('one who wants many turns makes another wait for one', async () => {
  const turns = createTurns()
  let given = 0
  const many = Array.from({ length: 20_000 }, () => turns.next('many').then(() => given++))
  await turns.next('other')
  expect(given).toBeLessThan(3)
  await Promise.all(many)
})

test('what rests begins again', async () => {
  const turns = createTurns()
  for (let i = 0; i < 3; i++) {
    await turns.next('a')
    await new Promise(setImmediate)
  }
})
