/**
 * From the log to one reader: what was missed, then what happens, in the log's order, each event once.
 * Invariant: a reader's place only moves over events it was given or that are not for it. The bell is armed before
 * the log is read, so an event that lands while a replay is read is found by the next read.
 */
import { type Filter, matches } from '../filter.ts'
import { type AppId, isFinal, type Prediction, type PredictionEvent } from '../prediction.ts'
import type { EventsAnswer, Store } from '../store/store.ts'
import type { Bell } from './bell.ts'
import type { Cursors } from './cursor.ts'

export type FeedItem =
  | { kind: 'event'; event: PredictionEvent }
  | { kind: 'caught-up'; seq: number }
  | { kind: 'gap'; reason: GapReason; seq: number }

export const GAP_REASONS = ['CURSOR_TOO_OLD', 'CURSOR_UNKNOWN'] as const
export type GapReason = (typeof GAP_REASONS)[number]

export interface Feed {
  /** Every event of the app that the filter lets through: from `after` on, or from now on if it is null. Never ends by itself. */
  follow(appId: AppId, after: string | null, filter: Filter): AsyncIterableIterator<FeedItem>
  /** The present state, then every later one; ends after a final one. Null if the app has no such prediction. */
  watch(appId: AppId, id: string): Promise<AsyncIterableIterator<Prediction> | null>
  /** Ends every reader. */
  close(): void
}

export interface FeedOptions {
  store: Store
  bell: Bell
  cursors: Cursors
  /** A reader that has been told nothing for this long is told how far the log was read, so that its cursor stays young. */
  quietMs?: number
}

const BATCH = 100
/** Without a ring a reader looks this often: another process may have written. */
const RECHECK_MS = 5000
const QUIET_MS = 3 * 60 * 1000

export function createFeed({ store, bell, cursors, quietMs = QUIET_MS }: FeedOptions): Feed {
  const closing = new AbortController()

  /** The log behind `place`, batch by batch; an empty one where a look found nothing new. */
  async function* batches(
    place: number,
    which: { appId: AppId; predictionId?: string },
    signal: AbortSignal,
  ): AsyncGenerator<EventsAnswer & { isLast: boolean; overtaken: boolean }> {
    let after = place
    while (!signal.aborted) {
      const armed = bell.arm()
      try {
        const answer = await store.eventsAfter({ ...which, after, limit: BATCH })
        const isLast = answer.events.length < BATCH
        yield { ...answer, isLast, overtaken: after < answer.floor }
        after = answer.through
        if (isLast) await armed.rung(Math.min(RECHECK_MS, quietMs), signal)
      } finally {
        armed.disarm()
      }
    }
  }

  async function* follow(
    appId: AppId,
    cursor: string | null,
    filter: Filter,
    signal: AbortSignal,
  ): AsyncGenerator<FeedItem> {
    const { seq, gap } = await begin(cursor)
    let replaying = false
    if (gap !== null) yield { kind: 'gap', reason: gap, seq }
    else if (cursor === null) yield { kind: 'caught-up', seq }
    else replaying = true

    let told = Date.now()
    for await (const { events, through, floor, isLast, overtaken } of batches(seq, { appId }, signal)) {
      if (overtaken) yield { kind: 'gap', reason: 'CURSOR_TOO_OLD', seq: floor }
      for (const event of events) {
        if (!matches(filter, event.prediction)) continue
        yield { kind: 'event', event }
        told = Date.now()
      }
      if (!isLast || (!replaying && Date.now() - told < quietMs)) continue
      yield { kind: 'caught-up', seq: through }
      replaying = false
      told = Date.now()
    }
  }

  async function begin(cursor: string | null): Promise<{ seq: number; gap: GapReason | null }> {
    const { head, floor } = await store.eventBounds()
    if (cursor === null) return { seq: head, gap: null }
    const seq = cursors.open(cursor)
    if (seq === null || seq > head) return { seq: head, gap: 'CURSOR_UNKNOWN' }
    if (seq < floor) return { seq: head, gap: 'CURSOR_TOO_OLD' }
    return { seq, gap: null }
  }

  async function* watch(
    appId: AppId,
    first: Prediction,
    head: number,
    signal: AbortSignal,
  ): AsyncGenerator<Prediction> {
    yield first
    if (isFinal(first.status)) return
    for await (const { events, overtaken } of batches(head, { appId, predictionId: first.id }, signal)) {
      const states = events.map(event => event.prediction)
      // What came between has been pruned, perhaps the end itself: the present state stands for it.
      if (overtaken && states.length === 0) states.push((await store.get(appId, first.id)) ?? first)
      for (const state of states) {
        yield state
        if (isFinal(state.status)) return
      }
    }
  }

  return {
    follow: (appId, after, filter) =>
      stoppable(closing.signal, signal => follow(appId, after, filter, signal)),
    async watch(appId, id) {
      const snapshot = await store.snapshot(appId, id)
      return (
        snapshot &&
        stoppable(closing.signal, signal => watch(appId, snapshot.prediction, snapshot.head, signal))
      )
    },
    close: () => closing.abort(),
  }
}

/** A generator's own `return` waits behind its pending `next`; this one wakes it first, so a reader that leaves is gone. */
function stoppable<T>(
  closing: AbortSignal,
  start: (signal: AbortSignal) => AsyncGenerator<T>,
): AsyncIterableIterator<T> {
  const leaving = new AbortController()
  const items = start(AbortSignal.any([closing, leaving.signal]))
  return {
    next: () => items.next(),
    return: () => {
      leaving.abort()
      return items.return(undefined)
    },
    throw: error => {
      leaving.abort()
      return items.throw(error)
    },
    [Symbol.asyncIterator]() {
      return this
    },
  }
}
