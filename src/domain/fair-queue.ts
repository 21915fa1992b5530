/**
 * Who is next, among apps that share one account's places. An app's key is (n + k − 1 + rounding) / weight: n of its jobs
 * have a place, the job is the k-th of those that wait. The least key is next, then the least turn, then the queue that
 * began first. `turn` is the time the app's jobs had places, by its weight. `rounding`, from 0 to 1, is 0 for an app that
 * had less than its share and 1 for one that had more: counts alone would ignore weights where places are few. The first
 * job of a queue that has just begun has the key 0: whoever asks for one waits for no backlog, whatever the weights.
 * Invariant: to give a place away changes nobody's key. So the order of all that wait is one list, and a position is true.
 */

/** Time in a place by which an app is a whole job ahead or behind. Jobs of seconds and of five minutes do well with it. */
export const JOB_TIME_SCALE_MS = 3 * 60_000
/** Nobody is owed more time in a place than this. */
export const MAX_CREDIT_MS = 5 * JOB_TIME_SCALE_MS
/** What one job may count for: a clock that was set makes nobody a debtor for good. */
export const MAX_COUNTED_JOB_MS = 60 * 60_000

/** How an app stands whose jobs wait. */
export interface AppQueueState {
  appId: string
  weight: number
  /** Jobs that have a place. */
  activeJobs: number
  /** Most places it may have. */
  maxActive: number
  bias: number
  virtualTime: number
  backlogStartedAt: number
  waitingJobs: number
  /** 1 if none of its queue has had a place yet. */
  isNewlyActive: number
}

/** The very sum that the store's statements have: ties must agree to the last bit. */
const fairnessKey = (
  { activeJobs, bias, weight, isNewlyActive }: AppQueueState,
  queueIndex: number,
): number =>
  isNewlyActive === 1 && activeJobs === 0 && queueIndex === 1
    ? 0
    : (activeJobs + queueIndex - 1 + bias) / weight

/**
 * How many jobs wait before the app's k-th. What another app's limit holds back is not before it; what its own does has
 * the place that it would have without, for others end as well.
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

/** Of its waiting jobs, those that its own limit lets through. */
const startableJobs = ({ activeJobs, maxActive, waitingJobs }: AppQueueState): number =>
  Math.max(0, Math.min(waitingJobs, maxActive - activeJobs))

/** Where the keys of two are the same. */
const precedesOnTie = (a: AppQueueState, b: AppQueueState): boolean =>
  (a.virtualTime - b.virtualTime || a.backlogStartedAt - b.backlogStartedAt || (a.appId < b.appId ? -1 : 1)) <
  0

/** The least of `from` … `to` that is so, as are all after it; `to` + 1 if none is. */
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
