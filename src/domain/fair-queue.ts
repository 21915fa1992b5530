/**
 * Weighted fair queueing of the account's upstream slots among apps. Pure.
 * A queued job's key is (activeJobs + queueIndex − 1 + bias) / weight of its app. The lowest key is next. Ties go to
 * the lowest `virtualTime`, then to the oldest backlog. `virtualTime` is the time for which the app's jobs have held
 * slots, divided by its weight. `bias` is between 0 (the app had less than its share) and 1 (it had more). Without
 * it, counts alone would ignore the weights when there are few slots. The first job of a newly active app has key 0,
 * so an app with a single job never waits behind a backlog.
 * Invariant: assigning a slot changes no key. The order of all queued jobs is therefore one list, and a position is the
 * exact rank in it. One rule outside of this file moves jobs: claim-submits.ts submits jobs last that upstream refused
 * repeatedly. A position ignores that.
 */
import { HOUR_MS, MINUTE_MS } from './time.ts'

/** Slot time by which an app counts as one whole job ahead or behind. Works for jobs of seconds and of five minutes. */
export const JOB_TIME_SCALE_MS = 3 * MINUTE_MS
/** Max slot time that an app can be owed. */
export const MAX_CREDIT_MS = 5 * JOB_TIME_SCALE_MS
/** Max time for which one job counts, so that a changed clock leaves no app in debt for good. */
export const MAX_COUNTED_JOB_MS = HOUR_MS

/** The time for which a job that ends now counts as having held its slot. */
export const countedJobMs = (submitStartedAt: number | null, now: number): number =>
  Math.min(Math.max(now - (submitStartedAt ?? now), 0), MAX_COUNTED_JOB_MS)

/** State of an app with queued jobs. */
export interface AppQueueState {
  appId: string
  weight: number
  /** Jobs that hold a slot. */
  activeJobs: number
  /** Max slots of the app. */
  maxActive: number
  bias: number
  virtualTime: number
  backlogStartedAt: number
  waitingJobs: number
  /** 1 if its backlog started without debt and no job of it has released a slot since, else 0. */
  isNewlyActive: number
}

/** The same expression as in the store's SQL: ties must agree to the last bit. */
const fairnessKey = (
  { activeJobs, bias, weight, isNewlyActive }: AppQueueState,
  queueIndex: number,
): number =>
  isNewlyActive === 1 && activeJobs === 0 && queueIndex === 1
    ? 0
    : (activeJobs + queueIndex - 1 + bias) / weight

/**
 * Number of queued jobs before the app's job at `queueIndex`. Jobs that another app's own limit holds back do not
 * count. A job that its own app's limit holds back keeps the position it would have without that limit.
 */
export function jobsAhead(own: AppQueueState, queueIndex: number, apps: readonly AppQueueState[]): number {
  const key = fairnessKey(own, queueIndex)
  return apps.reduce((sum, other) => {
    if (other.appId === own.appId) return sum + queueIndex - 1
    const winsTies = precedesOnTie(other, own)
    const isBehind = (index: number) =>
      fairnessKey(other, index) > key || (fairnessKey(other, index) === key && !winsTies)
    return sum + firstIndexWhere(1, startableJobs(other), isBehind) - 1
  }, 0)
}

/** Number of queued jobs that the app's own limit lets start. */
const startableJobs = ({ activeJobs, maxActive, waitingJobs }: AppQueueState): number =>
  Math.max(0, Math.min(waitingJobs, maxActive - activeJobs))

/** Order of two apps with equal keys. */
const precedesOnTie = (a: AppQueueState, b: AppQueueState): boolean =>
  (a.virtualTime - b.virtualTime || a.backlogStartedAt - b.backlogStartedAt || (a.appId < b.appId ? -1 : 1)) <
  0

/** Lowest index from `from` to `to` for which `predicate` holds, as it then must for all after it; else `to` + 1. */
function firstIndexWhere(from: number, to: number, predicate: (index: number) => boolean): number {
  let low = from
  let high = to + 1
  while (low < high) {
    const middle = (low + high) >> 1
    if (predicate(middle)) high = middle
    else low = middle + 1
  }
  return low
}
