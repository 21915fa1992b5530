/**
 * The log as it grows. One tail a process reads each new event once, into a ring; a reader is a place, which it keeps
 * itself, and whoever fell out of the ring reads from the store.
 * Invariant: `head` moves in the same turn in which everyone who listens for an event behind it is woken, and nothing past
 * it is read. So a reader that looks, finds nothing up to `head` and listens, all in one turn, misses nothing.
 */
import { performance } from 'node:perf_hooks'
import { setImmediate, setTimeout } from 'node:timers/promises'
import { canSee, type Scope } from '../domain/access-scope.ts'
import type { PredictionEvent } from '../domain/prediction.ts'
import { type Filter, matchesFilter } from '../domain/prediction-filter.ts'
import type { WakeSignal } from '../runtime/wake-signal.ts'
import type { EventStore } from '../store/store.ts'
import { createEventBuffer } from './event-buffer.ts'

/** Which events a reader is for. */
export interface EventSelector {
  scope: Scope
  predictionId?: string
  filter?: Filter
}

export interface EventBatch {
  events: PredictionEvent[]
  /** There is nothing more for this interest up to here. */
  scannedUpTo: number
  /** Null, or: events behind the reader's place were pruned, up to this one. */
  missedUpTo: number | null
}

export interface EventLog {
  /** How far the tail has read. */
  readonly head: number
  /** What is behind it is in the ring; what is not, in the store. */
  readonly bufferedAfter: number
  /** At most a batch; at once if it is in the ring. */
  read(selector: EventSelector, afterSeq: number): EventBatch | Promise<EventBatch>
  /** Calls `wake` for each event, in the turn in which it is there to be read. Answers with the way to stop. */
  listen(selector: EventSelector, wake: (seq: number) => void): () => void
  /** While a reader is served from `place`, nothing behind it is pruned. */
  pin(seq: number): Pin
  /** The lowest place that is held. */
  lowestPinnedSeq(): number | null
  close(): void
}

export interface Pin {
  moveTo(seq: number): void
  release(): void
}

interface EventLogOptions {
  store: Pick<EventStore, 'eventRange' | 'eventsAfter' | 'allEventsAfter'>
  wakeSignal: WakeSignal
  log: { error(fields: object, message: string): void }
  maxBufferBytes?: number
}

const MAX_BATCH_EVENTS = 100
/** A prompt may have a million characters. */
const MAX_STORE_BATCH_EVENTS = 25
/** A start reads so many of the newest events, for those who come back after a restart. */
const WARM_UP_EVENTS = 1000
const MAX_BUFFER_BYTES = 8 * 1024 * 1024
/** Without a ring the tail looks this often: another process may have written. */
const RECHECK_MS = 5000
/** Thousands may listen: so long at a time. */
const SLICE_MS = 5
/** After a read that failed. */
const RETRY_MS = 500
/** A reader that has not moved for so long no longer keeps the log from being pruned. */
const PIN_TIMEOUT_MS = 60 * 60 * 1000

export async function createEventLog({
  store,
  wakeSignal,
  log,
  maxBufferBytes = MAX_BUFFER_BYTES,
}: EventLogOptions): Promise<EventLog> {
  const range = await store.eventRange()
  const buffer = createEventBuffer(Math.max(range.prunedUpTo, range.head - WARM_UP_EVENTS), maxBufferBytes)
  const listeners = new Map<string, Set<Listener>>()
  const pins = new Set<{ seq: number; movedAt: number }>()
  const closing = new AbortController()
  const { signal } = closing

  async function tail(): Promise<void> {
    let failing = false
    while (!signal.aborted) {
      const waiter = wakeSignal.waiter()
      try {
        let sliceEnd = performance.now() + SLICE_MS
        const { events, prunedUpTo } = await store.allEventsAfter(buffer.head, MAX_STORE_BATCH_EVENTS)
        failing = false
        if (prunedUpTo > buffer.head) skipTo(prunedUpTo)
        for (const event of events) {
          publish(event)
          if (performance.now() < sliceEnd) continue
          await setImmediate()
          sliceEnd = performance.now() + SLICE_MS
        }
        if (events.length === MAX_STORE_BATCH_EVENTS) await setImmediate()
        else await waiter.wait(RECHECK_MS, signal)
      } catch (error) {
        if (!failing) log.error({ err: error }, 'the event log could not be read; it is read again')
        failing = true
        await setTimeout(RETRY_MS, undefined, { signal }).catch(() => {})
      } finally {
        waiter.cancel()
      }
    }
  }

  function publish(event: PredictionEvent): void {
    buffer.push(event)
    for (const topic of [event.prediction.appId, event.prediction.id])
      for (const { selector, wake } of listeners.get(topic) ?? [])
        if (matchesSelector(selector, event)) wake(event.seq)
  }

  /** Pruned while the process slept: each who listens reads the store, and is told. */
  function skipTo(prunedUpTo: number): void {
    const firstSkippedSeq = buffer.head + 1
    buffer.reset(prunedUpTo)
    for (const topicListeners of listeners.values())
      for (const { wake } of topicListeners) wake(firstSkippedSeq)
  }

  void tail()

  return {
    get head() {
      return buffer.head
    },
    get bufferedAfter() {
      return buffer.bufferedAfter
    },

    read(selector, afterSeq) {
      if (afterSeq >= buffer.bufferedAfter)
        return {
          ...buffer.read(afterSeq, MAX_BATCH_EVENTS, event => matchesSelector(selector, event)),
          missedUpTo: null,
        }
      return readStore(selector, afterSeq)
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
          if (newSeq !== pin.seq) Object.assign(pin, { seq: newSeq, movedAt: Date.now() })
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
    // What the tail has not read yet will wake whoever listens; nobody may be past it by then.
    const { head } = buffer
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
  { scope, predictionId, filter = {} }: EventSelector,
  { prediction }: PredictionEvent,
): boolean =>
  canSee(scope, prediction) &&
  (predictionId === undefined || prediction.id === predictionId) &&
  matchesFilter(filter, prediction)
