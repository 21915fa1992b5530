import { expect, test } from 'vitest'
import { createClockWatch } from '../../src/workers/clock-watch.ts'
import { until } from '../support/until.ts'

test('a clock that is set moves what is due by as much, once; one that runs on moves nothing', async () => {
  let ahead = 1_000_000
  let reads = 0
  const shifts: number[] = []
  const warnings: object[] = []
  const log = { debug() {}, info() {}, warn: (fields: object) => void warnings.push(fields), error() {} }
  const watch = createClockWatch({
    store: { shift: async ms => void shifts.push(ms) },
    log,
    now: () => performance.now() + ahead,
    monotonic: () => {
      reads++
      return performance.now()
    },
  })
  const looked = async () => {
    const before = reads
    await until(() => reads > before + 1)
  }
  watch.start()
  await looked()
  expect(shifts).toEqual([])
  for (const [by, seen] of [
    [4000, false],
    [7_200_000, true],
    [-86_400_000, true],
  ] as const) {
    shifts.length = 0
    ahead += by
    await looked()
    await looked()
    expect(shifts).toHaveLength(seen ? 1 : 0)
    // What is trimmed little by little adds up.
    if (seen) expect(Math.abs(shifts[0]! - by)).toBeLessThan(4100)
  }
  expect(warnings).toHaveLength(2)
  await watch.stop(AbortSignal.abort())
})
