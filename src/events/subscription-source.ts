/**
 * What a subscription asks of the feed: where it begins, what each event is to it, when it ends.
 * Invariant: a place is given out with what stands at it (a snapshot, a cursor), so that from there on every event counts.
 */

import type { Scope } from '../domain/access-scope.ts'
import { isFinal, type Prediction, type PredictionEvent } from '../domain/prediction.ts'
import type { Filter } from '../domain/prediction-filter.ts'
import type { Store } from '../store/store.ts'
import type { CursorsOf } from './cursor.ts'
import type { Interest } from './event-log.ts'

export type FeedItem =
  | { kind: 'event'; event: PredictionEvent }
  | { kind: 'caught-up'; cursor: string }
  | { kind: 'gap'; reason: GapReason; cursor: string }

export const GAP_REASONS = ['CURSOR_TOO_OLD', 'CURSOR_UNKNOWN'] as const
export type GapReason = (typeof GAP_REASONS)[number]

export interface Item {
  value: FeedItem | Prediction
  /** Behind it, where there is one to go on from. */
  cursor: string | null
  /** Nothing comes after it. */
  isLast: boolean
}

export interface Beginning {
  place: number
  /** Told before anything else. */
  first: Item | null
  /** From `place` on it is a replay: its end is told. */
  replays: boolean
}

export interface Source {
  interest: Interest
  /** Nothing behind it may be pruned before `begin`. */
  from: number
  begin(): Promise<Beginning>
  itemOf(event: PredictionEvent): Item
  /** Stands for events that were pruned before they were told. */
  gap(prunedTo: number): Promise<Item>
  /** Everything up to `place` has been told. Null where nobody wants to know. */
  caughtUp: ((place: number) => Item) | null
}

export interface Sources {
  /** Every event in the scope that the filter lets through: from `after` on, or from now on if it is null. */
  follow(scope: Scope, after: string | null, filter: Filter): Source
  /** The present state, then every later one, up to a final one. Null if there is no such prediction in the scope. */
  watch(scope: Scope, id: string): Promise<Source | null>
}

export function createSources(store: Store, cursorsOf: CursorsOf): Sources {
  return {
    follow(scope, after, filter) {
      const cursors = cursorsOf(scope.appId)
      const caughtUp = (place: number): Item => {
        const cursor = cursors.sealHead(place)
        return { value: { kind: 'caught-up', cursor }, cursor, isLast: false }
      }
      const gap = (reason: GapReason, place: number): Item => {
        const cursor = cursors.sealHead(place)
        return { value: { kind: 'gap', reason, cursor }, cursor, isLast: false }
      }
      const seq = after === null ? null : cursors.open(after)
      return {
        interest: { scope, filter },
        from: seq ?? Number.MAX_SAFE_INTEGER,
        async begin() {
          const { head, floor } = await store.eventBounds()
          if (after === null) return { place: head, first: caughtUp(head), replays: false }
          const reason = seq === null || seq > head ? 'CURSOR_UNKNOWN' : seq < floor ? 'CURSOR_TOO_OLD' : null
          if (seq === null || reason !== null)
            return { place: head, first: gap(reason ?? 'CURSOR_UNKNOWN', head), replays: false }
          return { place: seq, first: null, replays: true }
        },
        itemOf: event => ({
          value: { kind: 'event', event },
          cursor: cursors.seal(event.seq),
          isLast: false,
        }),
        gap: async prunedTo => gap('CURSOR_TOO_OLD', prunedTo),
        caughtUp,
      }
    },

    async watch(scope, id) {
      const snapshot = await store.snapshot(scope, id)
      if (snapshot === null) return null
      const { prediction, head } = snapshot
      const itemOf = (value: Prediction): Item => ({ value, cursor: null, isLast: isFinal(value.status) })
      return {
        interest: { scope, predictionId: id },
        from: head,
        begin: async () => ({ place: head, first: itemOf(prediction), replays: false }),
        itemOf: event => itemOf(event.prediction),
        gap: async () => itemOf((await store.get(scope, id)) ?? prediction),
        caughtUp: null,
      }
    },
  }
}
