/**
 * The virtual time of apps in the fair queue: how it changes when an app's backlog starts and when a job releases its
 * slot. Pure. It is the definition: an engine does the same in its own statements, over all apps at once, and a property
 * test compares the two.
 * Invariant: an app without jobs gets no credit for its absence and keeps its debt; otherwise apps with short queues
 * would gain. Without debt its first job is next. No app is owed more than `MAX_CREDIT_MS` of slot time.
 */
import { MAX_CREDIT_MS } from './fair-queue.ts'

export interface AppVirtualTime {
  appId: string
  weight: number
  maxInFlight: number | null
  waitingJobs: number
  activeJobs: number
  virtualTime: number
  backlogStartedAt: number
  /** Its backlog started without debt, and no job of it has released a slot since. */
  isNewlyActive: boolean
}

/** The app before its first job is inserted. Unchanged if it has waiting or active jobs: then its backlog goes on. */
export function withBacklogStart(
  app: AppVirtualTime,
  apps: readonly AppVirtualTime[],
  now: number,
): AppVirtualTime {
  if (hasJobs(app)) return app
  const mean = meanVirtualTime(apps)
  const started = { ...app, backlogStartedAt: now }
  if (mean === null)
    return { ...started, isNewlyActive: true, virtualTime: Math.max(...apps.map(other => other.virtualTime)) }
  return {
    ...started,
    isNewlyActive: app.virtualTime <= mean,
    virtualTime: Math.min(Math.max(app.virtualTime, mean), mean + MAX_CREDIT_MS / app.weight),
  }
}

/** All apps after a job has held a slot for `heldMs`. The job is no longer one of `activeJobs`. */
export function withReleasedSlot(
  apps: readonly AppVirtualTime[],
  appId: string,
  heldMs: number,
): AppVirtualTime[] {
  const charged = apps.map(app =>
    app.appId === appId
      ? { ...app, virtualTime: app.virtualTime + heldMs / app.weight, isNewlyActive: false }
      : app,
  )
  const mean = meanVirtualTime(charged)
  if (mean === null) return charged
  return charged.map(app =>
    hasJobs(app) ? { ...app, virtualTime: Math.max(app.virtualTime, mean - maxCredit(app)) } : app,
  )
}

/** Virtual time that an app can be owed. An app held back by its own limit gets no credit. */
const maxCredit = ({ maxInFlight, activeJobs, weight }: AppVirtualTime): number =>
  maxInFlight !== null && activeJobs >= maxInFlight ? 0 : MAX_CREDIT_MS / weight

/** Mean of the apps with jobs, by weight; null without any. */
function meanVirtualTime(apps: readonly AppVirtualTime[]): number | null {
  const active = apps.filter(hasJobs)
  if (active.length === 0) return null
  const sumOf = (value: (app: AppVirtualTime) => number) => active.reduce((sum, app) => sum + value(app), 0)
  return sumOf(app => app.weight * app.virtualTime) / sumOf(app => app.weight)
}

const hasJobs = ({ waitingJobs, activeJobs }: AppVirtualTime): boolean => waitingJobs + activeJobs > 0
