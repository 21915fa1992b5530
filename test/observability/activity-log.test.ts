import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { AppId } from '../../src/domain/prediction.ts'
import { createActivityLog } from '../../src/observability/activity-log.ts'
import type { App, AppUsage } from '../../src/store/store.ts'

const MINUTE = 60 * 1000

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

test('each minute has a line for each app with jobs or subscriptions, until the log is closed', async () => {
  const queuedJobs: Record<string, number> = { busy: 2, watching: 0, idle: 0 }
  const lines: object[] = []
  const activityLog = createActivityLog({
    store: {
      listApps: async () => Object.keys(queuedJobs).map(id => ({ id }) as App),
      usage: async ({ appId }) => ({ queued: queuedJobs[appId], inFlight: 0, spent: 800_000 }) as AppUsage,
    },
    now: () => 0,
    log: { info: fields => void lines.push(fields) },
  })
  activityLog.start(() => new Map([['watching' as AppId, 3]]))
  await vi.advanceTimersByTimeAsync(MINUTE)
  const expected = [
    { app: 'busy', queued: 2, inFlight: 0, spentUsd: 0.8, subscriptions: 0 },
    { app: 'watching', queued: 0, inFlight: 0, spentUsd: 0.8, subscriptions: 3 },
  ]
  expect(lines).toEqual(expected)
  await vi.advanceTimersByTimeAsync(MINUTE)
  expect(lines).toEqual([...expected, ...expected])
  activityLog.close()
  await vi.advanceTimersByTimeAsync(10 * MINUTE)
  expect(lines).toHaveLength(4)
})
