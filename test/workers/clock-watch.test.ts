import { expect, test } from 'vitest'
import { createClockWatch } from '../../src/workers/clock-watch.ts'
import { until } from '../support/until.ts'

test('a clock that is set shifts deadlines by as much, once; a running clock shifts nothing', async () => {
  let clockOffsetMs = 1_000_000
  let reads = 0
  const shifts: number[] = []
  const warnings: object[] = []
  const log = { debug() {}, info() {}, warn: (fields: object) => void warnings.push(fields), error() {} }
  const clockWatch = createClockWatch({
    store: { followProcessClock: async ms => void shifts.push(ms) },
    log,
    now: () => performance.now() + clockOffsetMs,
    monotonic: () => {
      reads++
      return performance.now()
    },
  })
  const untilChecked = async () => {
    const before = reads
    await until(() => reads > before + 1)
  }
  clockWatch.start()
  await untilChecked()
  expect(shifts).toEqual([])
  for (const [offsetMs, isDetected] of [
    [4000, false],
    [7_200_000, true],
    [-86_400_000, true],
  ] as const) {
    shifts.length = 0
    clockOffsetMs += offsetMs
    await untilChecked()
    await untilChecked()
    expect(shifts).toHaveLength(isDetected ? 1 : 0)
    // Small adjustments add up.
    if (isDetected) expect(Math.abs(shifts[0]! - offsetMs)).toBeLessThan(4100)
  }
  expect(warnings).toHaveLength(2)
  await clockWatch.stop(AbortSignal.abort())
})
