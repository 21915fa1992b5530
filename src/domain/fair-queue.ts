/**
 * Who is next, among apps that share one account's places. An app's key is (n + k − 1 + rounding) / weight: n of its jobs
 * have a place, the job is the k-th of those that wait. The least key is next, then the least turn, then the queue that
 * began first. `turn` is the time the app's jobs had places, by its weight. `rounding`, from 0 to 1, is 0 for an app that
 * had less than its share and 1 for one that had more: counts alone would ignore weights where places are few. The first
 * job of a queue that has just begun has the key 0: whoever asks for one waits for no backlog, whatever the weights.
 * Invariant: to give a place away changes nobody's key. So the order of all that wait is one list, and a position is true.
 */

/** Time in a place by which an app is a whole job ahead or behind. Jobs of seconds and of five minutes do well with it. */
export const SWING_MS = 3 * 60_000
/** Nobody is owed more time in a place than this. */
export const MOST_OWED_MS = 5 * SWING_MS
/** What one job may count for: a clock that was set makes nobody a debtor for good. */
export const LONGEST_JOB_MS = 60 * 60_000

/** How an app stands whose jobs wait. */
export interface Stand {
  appId: string
  weight: number
  /** Jobs that have a place. */
  n: number
  /** Most places it may have. */
  most: number
  rounding: number
  turn: number
  queuedSince: number
  waiting: number
  /** 1 if none of its queue has had a place yet. */
  isNew: number
}

/** The very sum that the store's statements have: ties must agree to the last bit. */
const keyOf = ({ n, rounding, weight, isNew }: Stand, k: number): number =>
  isNew === 1 && n === 0 && k === 1 ? 0 : (n + k - 1 + rounding) / weight

/**
 * How many jobs wait before the app's k-th. What another app's limit holds back is not before it; what its own does has
 * the place that it would have without, for others end as well.
 */
export function aheadOf(mine: Stand, k: number, all: readonly Stand[]): number {
  const key = keyOf(mine, k)
  return all.reduce((sum, one) => {
    if (one.appId === mine.appId) return sum + k - 1
    const isFirst = isBefore(one, mine)
    const isBehind = (at: number) => keyOf(one, at) > key || (keyOf(one, at) === key && !isFirst)
    return sum + leastWhere(1, freeOf(one), isBehind) - 1
  }, 0)
}

/** Of its waiting jobs, those that its own limit lets through. */
const freeOf = ({ n, most, waiting }: Stand): number => Math.max(0, Math.min(waiting, most - n))

/** Where the keys of two are the same. */
const isBefore = (a: Stand, b: Stand): boolean =>
  (a.turn - b.turn || a.queuedSince - b.queuedSince || (a.appId < b.appId ? -1 : 1)) < 0

/** The least of `from` … `to` that is so, as are all after it; `to` + 1 if none is. */
function leastWhere(from: number, to: number, isSo: (at: number) => boolean): number {
  let low = from
  let high = to + 1
  while (low < high) {
    const middle = (low + high) >> 1
    if (isSo(middle)) high = middle
    else low = middle + 1
  }
  return low
}
