import { expect, test } from 'vitest'
import { createContinuousRun } from '../../src/runtime/continuous-run.ts'
import { createTestClocks } from '../support/clocks.ts'

const MINUTE = 60_000

test('a run lasts from its start, and begins anew after a sleep', () => {
  const clocks = createTestClocks()
  const run = createContinuousRun(clocks)
  expect(run.hasLasted(MINUTE)).toBe(false)
  clocks.advance(MINUTE)
  expect(run.hasLasted(MINUTE)).toBe(true)
  clocks.sleep(MINUTE)
  // The caller is the first to run after the sleep.
  expect(run.hasLasted(MINUTE)).toBe(false)
  expect(Math.round(run.takePause() / 1000)).toBe(60)
  expect(run.takePause()).toBe(0)
  clocks.advance(MINUTE)
  expect(run.hasLasted(MINUTE)).toBe(true)
})

test('a run begins anew after the process was stopped', () => {
  let loopMs = 0
  const clocks = createTestClocks()
  const run = createContinuousRun(clocks, () => loopMs)
  clocks.advance(MINUTE)
  loopMs += MINUTE
  expect(run.hasLasted(MINUTE)).toBe(false)
})

test('a run begins anew after the wall clock was set, which is no pause', () => {
  const clocks = createTestClocks()
  const run = createContinuousRun(clocks)
  clocks.advance(MINUTE)
  expect(run.hasLasted(MINUTE)).toBe(true)
  clocks.set(MINUTE)
  expect(run.hasLasted(MINUTE)).toBe(false)
  expect(run.takePause()).toBe(0)
})

test('without a boot clock a wall clock that leaps ahead is a sleep', () => {
  const clocks = createTestClocks(false)
  const run = createContinuousRun(clocks)
  clocks.advance(MINUTE)
  expect(run.hasLasted(MINUTE)).toBe(true)
  clocks.set(MINUTE)
  expect(run.hasLasted(MINUTE)).toBe(false)
})
