import { describe, expect, test } from 'vitest'
import { createContinuousRun } from '../../src/runtime/continuous-run.ts'
import { createClockWatch } from '../../src/workers/clock-watch.ts'
import { createTestClocks, type TestClocks } from '../support/clocks.ts'
import { until } from '../support/until.ts'

const HOUR = 60 * 60 * 1000

/** A running clock watch, with the shifts that it made. */
function watch(clocks: TestClocks) {
  let reads = 0
  const shifts: number[] = []
  const warnings: string[] = []
  const log = {
    debug() {},
    info() {},
    warn: (_: object, message: string) => void warnings.push(message),
    error() {},
  }
  const clockWatch = createClockWatch({
    store: { followProcessClock: async ms => void shifts.push(ms) },
    log,
    clocks: {
      ...clocks,
      wall() {
        reads++
        return clocks.wall()
      },
    },
    continuousRun: createContinuousRun(clocks),
  })
  clockWatch.start()
  return {
    shifts,
    warnings,
    async untilChecked() {
      const before = reads
      await until(() => reads > before + 1)
    },
    [Symbol.asyncDispose]: () => clockWatch.stop(AbortSignal.abort()),
  }
}

describe.each([
  ['with a boot clock', true],
  ['without a boot clock', false],
])('%s', (_, hasBootClock) => {
  test('a clock that is set back shifts deadlines by as much, once; a running clock shifts nothing', async () => {
    const clocks = createTestClocks(hasBootClock)
    await using watched = watch(clocks)
    await watched.untilChecked()
    clocks.advance(HOUR)
    await watched.untilChecked()
    expect(watched.shifts).toEqual([])
    clocks.set(-24 * HOUR)
    await watched.untilChecked()
    await watched.untilChecked()
    expect(watched.shifts).toHaveLength(1)
    expect(Math.abs(watched.shifts[0]! + 24 * HOUR)).toBeLessThan(100)
    expect(watched.warnings).toEqual(['the clock was set; deadlines are shifted with it'])
  })

  test('a machine that slept shifts nothing', async () => {
    const clocks = createTestClocks(hasBootClock)
    await using watched = watch(clocks)
    clocks.sleep(HOUR)
    await watched.untilChecked()
    await watched.untilChecked()
    expect(watched.shifts).toEqual([])
    expect(watched.warnings).toEqual(['the process was stopped, or its machine slept; looking first'])
  })
})

test('small settings of the clock add up', async () => {
  const clocks = createTestClocks()
  await using watched = watch(clocks)
  for (const ms of [4000, 4000]) {
    await watched.untilChecked()
    clocks.set(ms)
  }
  await until(() => watched.shifts.length > 0)
  expect(Math.abs(watched.shifts[0]! - 8000)).toBeLessThan(100)
})

test('a clock that is set while the machine sleeps shifts deadlines by its own leap', async () => {
  const clocks = createTestClocks()
  await using watched = watch(clocks)
  clocks.sleep(HOUR)
  clocks.set(2 * HOUR)
  await until(() => watched.shifts.length > 0)
  expect(Math.abs(watched.shifts[0]! - 2 * HOUR)).toBeLessThan(100)
})

test.each([
  ['ahead', HOUR, []],
  ['back', -HOUR, [-HOUR]],
])('without a boot clock, a wall clock that leaps %s shifts by %i ms: %j', async (_, ms, shifts) => {
  const clocks = createTestClocks(false)
  await using watched = watch(clocks)
  clocks.set(ms)
  await watched.untilChecked()
  await watched.untilChecked()
  expect(watched.shifts.map(shift => Math.round(shift / 1000) * 1000)).toEqual(shifts)
})

test('a boot clock that stands still is none', async () => {
  const clocks = createTestClocks()
  await using watched = watch({ ...clocks, boot: () => 7 })
  clocks.advance(HOUR)
  await watched.untilChecked()
  await watched.untilChecked()
  expect(watched.shifts).toEqual([])
})
