/**
 * The event log as it grows. One loop per process (the tail) reads each new event once, into a buffer. A reader is
 * only a `seq`; a reader whose `seq` is no longer buffered reads from the store.
 * Invariant: `head` moves and the listeners for the new event are woken synchronously, without an `await` in between.
 * No event after `head` is returned. A reader misses nothing if it reads, finds nothing up to `head` and listens
 * synchronously, without an `await` in between.
 */
import { performance } from 'node:perf_hooks'
import { setImmediate, setTimeout } from 'node:timers/promises'
import { canSee, type Scope } from '../domain/access-scope.ts'
import type { LogPosition, PredictionEvent } from '../domain/prediction.ts'
import { type Filter, matchesFilter } from '../domain/prediction-filter.ts'
import { HOUR_MS } from '../domain/time.ts'
import type { WakeSignal } from '../runtime/wake-signal.ts'
import type { EventStore } from '../store/store.ts'
import { createEventBuffer } from './event-buffer.ts'

/** Selects events by scope, prediction and filter. */
export interface EventSelector {
  scope: Scope
  predictionId?: string
  filter?: Filter
}

export interface EventBatch {
  events: PredictionEvent[]
  /** `events` has every event of this selector up to this `seq`. */
  scannedUpTo: number
  /** Null, or the `seq` up to which events after the reader's position were pruned. */
  missedUpTo: number | null
}

export interface EventLog {
  /** `seq` of the newest event that the tail has read. */
  readonly head: number
  /** The position behind the event `seq`. Synchronous at the head. */
  positionOf(seq: number): LogPosition | Promise<LogPosition>
  /** Events after this `seq` are in the buffer; earlier ones are only in the store. */
  readonly bufferedAfter: number
  /** Returns at most one batch. Synchronous if the events are in the buffer. */
  read(selector: EventSelector, afterSeq: number): EventBatch | Promise<EventBatch>
  /**
   * Calls `wake` for each matching event, synchronously when it becomes readable. Returns the function that stops it.
   */
  listen(selector: EventSelector, wake: (seq: number) => void): () => void
  /**
   * Keeps events after `seq` from being pruned, until the pin has not moved for an hour. After that they may be
   * pruned, and the reader's next batch has `missedUpTo`.
   */
  pin(seq: number): Pin
  /** The lowest `seq` of the pins that moved within the last hour; null without one. */
  lowestPinnedSeq(): number | null
  close(): void
}

export interface Pin {
  moveTo(seq: number): void
  release(): void
}

interface EventLogOptions {
  store: Pick<EventStore, 'eventRange' | 'positionOf' | 'eventsAfter' | 'allEventsAfter'>
  wakeSignal: WakeSignal
  log: { error(fields: object, message: string): void }
  maxBufferBytes?: number
}

const MAX_BATCH_EVENTS = 100
/** Buffered events that are matched in one go, about 0.1 ms: a filter may match few of them. */
const MAX_SCANNED_EVENTS = 1000
/** A prompt may have a million characters. */
const MAX_STORE_BATCH_EVENTS = 25
/** Events loaded at start: clients reconnect after a restart. */
const WARM_UP_EVENTS = 1000
const MAX_BUFFER_BYTES = 8 * 1024 * 1024
/** Interval of the tail's reads without a signal: another process may have written. */
const RECHECK_MS = 5000
/** Max time that listeners are woken without a pause for other work: there may be thousands. */
const SLICE_MS = 5
/** Delay after a failed read. */
const RETRY_MS = 500
/** A pin that has not moved for this time no longer blocks pruning. */
const PIN_TIMEOUT_MS = HOUR_MS

export async function createEventLog({
  store,
  wakeSignal,
  log,
  maxBufferBytes = MAX_BUFFER_BYTES,
}: EventLogOptions): Promise<EventLog> {
  const range = await store.eventRange()
  let head = Math.max(range.prunedUpTo, range.head - WARM_UP_EVENTS)
  /** Null until the tail has read an event, or after it has skipped pruned ones. */
  let headPosition: LogPosition | null = null
  const buffer = createEventBuffer(head, maxBufferBytes)
  const listeners = new Map<string, Set<Listener>>()
  const pins = new Set<{ seq: number; movedAt: number }>()
  const closing = new AbortController()
  const { signal } = closing

  async function tail(): Promise<void> {
    const waiter = wakeSignal.createWaiter()
    let failing = false
    while (!signal.aborted) {
      try {
        let sliceEnd = performance.now() + SLICE_MS
        const { events, prunedUpTo } = await store.allEventsAfter(head, MAX_STORE_BATCH_EVENTS)
        failing = false
        if (prunedUpTo > head) skipTo(prunedUpTo)
        for (const event of events) {
          buffer.push(event)
          head = event.seq
          headPosition = { seq: event.seq, mark: event.mark }
          wakeListeners(event)
          if (performance.now() < sliceEnd) continue
          await setImmediate()
          sliceEnd = performance.now() + SLICE_MS
        }
        if (events.length === MAX_STORE_BATCH_EVENTS) await setImmediate()
        else await waiter.wait(RECHECK_MS, signal)
      } catch (error) {
        if (!failing) log.error({ err: error }, 'the event log could not be read; retrying')
        failing = true
        await setTimeout(RETRY_MS, undefined, { signal }).catch(() => {})
      }
    }
    waiter.cancel()
  }

  function wakeListeners(event: PredictionEvent): void {
    for (const topic of [event.prediction.appId, event.prediction.id])
      for (const { selector, wake } of listeners.get(topic) ?? [])
        if (matchesSelector(selector, event)) wake(event.seq)
  }

  /** Events were pruned while the process slept: every listener is woken, reads the store and gets `missedUpTo`. */
  function skipTo(prunedUpTo: number): void {
    const firstSkippedSeq = head + 1
    head = prunedUpTo
    headPosition = null
    buffer.reset(head)
    for (const topicListeners of listeners.values())
      for (const { wake } of topicListeners) wake(firstSkippedSeq)
  }

  void tail()

  return {
    get head() {
      return head
    },
    positionOf: seq => (headPosition?.seq === seq ? headPosition : store.positionOf(seq)),
    get bufferedAfter() {
      return buffer.bufferedAfter
    },

    read(selector, afterSeq) {
      const scanned = buffer.eventsAfter(afterSeq, MAX_SCANNED_EVENTS)
      if (scanned === null) return readStore(selector, afterSeq)
      const events: PredictionEvent[] = []
      for (const event of scanned) {
        if (!matchesSelector(selector, event)) continue
        events.push(event)
        if (events.length === MAX_BATCH_EVENTS) return { events, scannedUpTo: event.seq, missedUpTo: null }
      }
      return { events, scannedUpTo: scanned.at(-1)?.seq ?? afterSeq, missedUpTo: null }
    },

    listen(selector, wake) {
      const topic = topicOf(selector)
      const listener = { selector, wake }
      const topicListeners = listeners.get(topic) ?? new Set()
      listeners.set(topic, topicListeners.add(listener))
      return () => {
        topicListeners.delete(listener)
        if (topicListeners.size === 0) listeners.delete(topic)
      }
    },

    pin(seq) {
      const pin = { seq, movedAt: Date.now() }
      pins.add(pin)
      return {
        moveTo(newSeq) {
          if (newSeq === pin.seq) return
          pin.seq = newSeq
          pin.movedAt = Date.now()
        },
        release: () => void pins.delete(pin),
      }
    },

    lowestPinnedSeq() {
      let lowest: number | null = null
      for (const { seq, movedAt } of pins)
        if (Date.now() - movedAt < PIN_TIMEOUT_MS) lowest = Math.min(lowest ?? seq, seq)
      return lowest
    },

    close: () => closing.abort(),
  }

  async function readStore(
    { scope, predictionId, filter = {} }: EventSelector,
    afterSeq: number,
  ): Promise<EventBatch> {
    const { events, scannedUpTo, prunedUpTo } = await store.eventsAfter({
      scope,
      afterSeq,
      limit: MAX_STORE_BATCH_EVENTS,
      ...(predictionId !== undefined && { predictionId }),
    })
    // Events that the tail has not read yet will wake listeners: no reader may be past them by then.
    const missedUpTo = afterSeq < prunedUpTo ? prunedUpTo : null
    return {
      events: events.filter(event => event.seq <= head && matchesFilter(filter, event.prediction)),
      scannedUpTo: Math.max(Math.min(scannedUpTo, head), missedUpTo ?? 0),
      missedUpTo,
    }
  }
}

interface Listener {
  selector: EventSelector
  wake(seq: number): void
}

const topicOf = ({ scope, predictionId }: EventSelector): string => predictionId ?? scope.appId

const matchesSelector = (
  { scope, predictionId, filter }: EventSelector,
  { prediction }: PredictionEvent,
): boolean =>
  canSee(scope, prediction) &&
  (predictionId === undefined || prediction.id === predictionId) &&
  (filter === undefined || matchesFilter(filter, prediction))
