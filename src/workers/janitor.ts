/**
 * Deletes old events, expired keys and uploads, keeps the log's head outside of the database, and ends jobs long past their deadline that no poll reaches.
 * It works in small batches, so that nothing waits for it.
 * Invariant: no event is deleted that a reader has pinned. A pin ends after an hour without a move; its reader then
 * gets a gap (event-log.ts).
 */
import { setImmediate } from 'node:timers/promises'
import { pollFailed } from '../domain/transitions.ts'
import type { EventLog } from '../events/event-log.ts'
import type { Log } from '../observability/log.ts'
import type { ContinuousRun } from '../runtime/continuous-run.ts'
import type { Store } from '../store/store.ts'
import { nextExpiredPollAt } from './reconcile-schedule.ts'
import { createWorkerLoop, type WorkerLoop } from './worker-loop.ts'

const BATCH = 500
const INTERVAL_MS = 10_000

export function createJanitor(options: {
  store: Store
  eventLog: Pick<EventLog, 'lowestPinnedSeq'>
  log: Log
  now: () => number
  eventRetentionMs: number
  deadlineMs: number
  continuousRun: Pick<ContinuousRun, 'hasLasted'>
}): WorkerLoop {
  const { continuousRun, store, eventLog, log, now, eventRetentionMs, deadlineMs } = options

  /**
   * While upstream cannot be read, jobs get twice the deadline. After that a job ends without a poll, but only if this
   * process has polled without a pause for as long as the deadline: jobs that ended meanwhile are found first.
   */
  async function expireOverdue(): Promise<void> {
    if (!continuousRun.hasLasted(deadlineMs)) return
    const at = now()
    for (const id of await store.findOverdueIds(at - 2 * deadlineMs, BATCH)) {
      const transition = pollFailed(
        { now: at, nextPollAt: nextExpiredPollAt(at, at), deadlineMs, outputGraceMs: 0 },
        false,
      )
      const changed = await store.change(id, transition, at)
      if (changed !== null)
        log.warn({ prediction: id, app: changed.appId }, 'past its deadline, and never seen to end')
      await setImmediate()
    }
  }

  return createWorkerLoop<never>({
    name: 'janitor',
    async claim() {
      const keys = await store.pruneKeys(now())
      if (keys > 0) log.debug({ keys }, 'expired keys pruned')
      await expireOverdue()
      while (await store.pruneUploads(now())) await setImmediate()
      for (let pruned = BATCH; pruned === BATCH; await setImmediate()) {
        pruned = await store.pruneEvents({
          occurredBefore: now() - eventRetentionMs,
          limit: BATCH,
          thisProcess: { lowestPinnedSeq: eventLog.lowestPinnedSeq() },
        })
        if (pruned > 0) log.debug({ events: pruned }, 'old events pruned')
      }
      await store.keepHead()
      return []
    },
    perform: async () => {},
    capacity: 1,
    intervalMs: INTERVAL_MS,
    log,
  })
}
