import { performance } from 'node:perf_hooks'
import { expect, test } from 'vitest'
import { createFairScheduler } from '../../src/runtime/fair-scheduler.ts'

const blockFor = (ms: number) => {
  const end = performance.now() + ms
  while (performance.now() < end);
}

test('long work leaves time for other work between its slices', async () => {
  const scheduler = createFairScheduler()
  let passes = 0
  let working = true
  const others = () => {
    passes++
    if (working) setImmediate(others)
  }
  setImmediate(others)
  for (let i = 0; i < 200; i++) {
    await scheduler.nextSlice('a')
    blockFor(0.5)
  }
  working = false
  // It took 100 ms, in slices of 5 ms.
  expect(passes).toBeGreaterThanOrEqual(15)
})

test('two jobs of one owner get their slices alternately', async () => {
  const scheduler = createFairScheduler()
  const order: string[] = []
  const work = async (name: string) => {
    for (let i = 0; i < 20; i++) {
      await scheduler.nextSlice('one')
      order.push(name)
      blockFor(0.5)
    }
  }
  await Promise.all([work('a'), work('b')])
  expect(order.join('')).toBe('ab'.repeat(20))
})

test('an owner with many requests makes another owner wait for one slice only', async () => {
  const scheduler = createFairScheduler()
  let granted = 0
  const many = Array.from({ length: 20_000 }, () => scheduler.nextSlice('many').then(() => granted++))
  await scheduler.nextSlice('other')
  expect(granted).toBeLessThan(3)
  await Promise.all(many)
})

test('an idle scheduler starts again', async () => {
  const scheduler = createFairScheduler()
  for (let i = 0; i < 3; i++) {
    await scheduler.nextSlice('a')
    await new Promise(setImmediate)
  }
})
