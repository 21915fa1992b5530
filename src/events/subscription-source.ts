/**
 * Sources of subscriptions: where each starts in the event log, its message for an event, and when it ends.
 * Invariant: a start position is returned together with the state at it (a snapshot or a cursor), so every later event
 * counts.
 */

import type { Scope } from '../domain/access-scope.ts'
import { isFinal, type LogPosition, type Prediction, type PredictionEvent } from '../domain/prediction.ts'
import type { Filter } from '../domain/prediction-filter.ts'
import type { Store } from '../store/store.ts'
import type { CursorsOf } from './cursor.ts'
import type { EventSelector } from './event-log.ts'

/** An event as an app sees it. */
export interface FeedEvent extends PredictionEvent {
  /** Cursor to resume after this event. */
  cursor: string
}

export type FeedItem =
  | ({ kind: 'event' } & FeedEvent)
  | { kind: 'caught-up'; cursor: string }
  | { kind: 'gap'; reason: GapReason; cursor: string }

export const GAP_REASONS = ['CURSOR_TOO_OLD', 'CURSOR_UNKNOWN'] as const
export type GapReason = (typeof GAP_REASONS)[number]

export interface FeedMessage {
  value: FeedItem | Prediction
  /** Cursor to resume after this message; null if it has none. */
  cursor: string | null
  /** The subscription ends after this message. */
  isLast: boolean
}

interface StartPosition {
  seq: number
  /** Sent before anything else. */
  initialMessage: FeedMessage | null
  /** The subscription replays events after `seq`, and the end of the replay is reported. */
  isReplay: boolean
}

export interface SubscriptionSource {
  /** Approximate bytes that it holds of its request. */
  heldBytes: number
  selector: EventSelector
  /** No event after it may be pruned until `resolveStart` returns. */
  pinSeq: number
  resolveStart(): Promise<StartPosition>
  toMessage(event: PredictionEvent): FeedMessage
  /** The message that replaces events that were pruned before they were delivered. */
  gapMessage(missedUpTo: number): Promise<FeedMessage>
  /** The message that says that everything up to the position was delivered; null if the subscription has none. */
  caughtUpMessage: ((position: LogPosition) => FeedMessage) | null
}

export interface SubscriptionSources {
  /** Every event in the scope that matches the filter, if there is one: after the cursor, or from now on if it is null. */
  followFeed(scope: Scope, afterCursor: string | null, filter?: Filter): SubscriptionSource
  /** The present state, then every later one, up to a final one. Null if the scope has no such prediction. */
  watchPrediction(scope: Scope, id: string): Promise<SubscriptionSource | null>
}

export function createSubscriptionSources(store: Store, cursorsOf: CursorsOf): SubscriptionSources {
  return {
    followFeed(scope, afterCursor, filter) {
      const cursors = cursorsOf(scope.appId)
      const caughtUpMessage = (position: LogPosition): FeedMessage => {
        const cursor = cursors.encodeHead(position)
        return { value: { kind: 'caught-up', cursor }, cursor, isLast: false }
      }
      const toGap = (reason: GapReason, position: LogPosition): FeedMessage => {
        const cursor = cursors.encodeHead(position)
        return { value: { kind: 'gap', reason, cursor }, cursor, isLast: false }
      }
      // The functions below do not use `afterCursor`: they would keep it, however long it is.
      const isFromNowOn = afterCursor === null
      const start = afterCursor === null ? null : cursors.decode(afterCursor)
      return {
        selector: { scope, ...(filter && { filter }) },
        heldBytes: filter === undefined ? 0 : 2 * JSON.stringify(filter).length,
        pinSeq: start?.seq ?? Number.MAX_SAFE_INTEGER,
        async resolveStart() {
          const { head, headPosition, prunedUpTo, isSameHistory } = await store.eventRange(start ?? undefined)
          if (isFromNowOn)
            return { seq: head, initialMessage: caughtUpMessage(headPosition), isReplay: false }
          // A cursor of another history is as unknown as garbage.
          const reason =
            start === null || start.seq > head || !isSameHistory
              ? 'CURSOR_UNKNOWN'
              : start.seq < prunedUpTo
                ? 'CURSOR_TOO_OLD'
                : null
          if (start === null || reason !== null)
            return {
              seq: head,
              initialMessage: toGap(reason ?? 'CURSOR_UNKNOWN', headPosition),
              isReplay: false,
            }
          return { seq: start.seq, initialMessage: null, isReplay: true }
        },
        toMessage: event => {
          const cursor = cursors.encode(event)
          return { value: { kind: 'event', ...event, cursor }, cursor, isLast: false }
        },
        gapMessage: async missedUpTo => toGap('CURSOR_TOO_OLD', await store.positionOf(missedUpTo)),
        caughtUpMessage,
      }
    },

    async watchPrediction(scope, id) {
      const snapshot = await store.snapshot(scope, id)
      if (snapshot === null) return null
      const { prediction, head } = snapshot
      const snapshotMessage = (value: Prediction): FeedMessage => ({
        value,
        cursor: null,
        isLast: isFinal(value.status),
      })
      return {
        selector: { scope, predictionId: id },
        heldBytes: 2 * JSON.stringify(prediction).length,
        pinSeq: head,
        resolveStart: async () => ({
          seq: head,
          initialMessage: snapshotMessage(prediction),
          isReplay: false,
        }),
        toMessage: event => snapshotMessage(event.prediction),
        gapMessage: async () => snapshotMessage((await store.get(scope, id)) ?? prediction),
        caughtUpMessage: null,
      }
    },
  }
}
