/**
 * Logs which holds there are at the start, and each hold that comes or goes: the command that sets one is another process.
 */
import { coversAllJobs, type Hold } from '../domain/hold.ts'
import type { Log } from '../observability/log.ts'
import type { Store } from '../store/store.ts'
import { createWorkerLoop, type WorkerLoop } from './worker-loop.ts'

const INTERVAL_MS = 1000

export function createHoldWatch(options: {
  store: Pick<Store, 'listHolds'>
  log: Log
  now: () => number
}): WorkerLoop {
  const { store, log, now } = options
  let known = new Map<string, Hold>()

  const keyOf = ({ appId, model, since }: Hold) => JSON.stringify([appId, model, since])
  const logFields = (hold: Hold) => ({
    ...(hold.appId !== null && { app: hold.appId }),
    ...(hold.model !== null && { model: hold.model }),
    reason: hold.reason,
    why: hold.why,
    since: new Date(hold.since).toISOString(),
  })

  return createWorkerLoop<never>({
    name: 'hold watch',
    async claim() {
      const holds = new Map((await store.listHolds()).map(hold => [keyOf(hold), hold]))
      for (const [key, hold] of holds)
        if (!known.has(key)) log.warn(logFields(hold), `${subjectOf(hold)} are held; the jobs stay queued`)
      for (const [key, hold] of known)
        if (!holds.has(key))
          log.info({ ...logFields(hold), ms: now() - hold.since }, `${subjectOf(hold)} are released`)
      known = holds
      return []
    },
    perform: async () => {},
    capacity: 1,
    intervalMs: INTERVAL_MS,
    log,
  })
}

const subjectOf = (hold: Hold): string => (coversAllJobs(hold) ? 'all submits' : 'some submits')
