/**
 * The log as it grows. One tail a process reads each new event once, into a ring; a reader is a place, which it keeps
 * itself, and whoever fell out of the ring reads from the store.
 * Invariant: `head` moves in the same turn in which everyone who listens for an event behind it is woken, and nothing past
 * it is read. So a reader that looks, finds nothing up to `head` and listens, all in one turn, misses nothing.
 */
import { performance } from 'node:perf_hooks'
import { setImmediate, setTimeout } from 'node:timers/promises'
import { type Scope, sees } from '../domain/access-scope.ts'
import type { PredictionEvent } from '../domain/prediction.ts'
import { type Filter, matches } from '../domain/prediction-filter.ts'
import type { Bell } from '../runtime/wake-signal.ts'
import type { Events } from '../store/store.ts'
import { createRing } from './event-buffer.ts'

/** Which events a reader is for. */
export interface Interest {
  scope: Scope
  predictionId?: string
  filter?: Filter
}

export interface Reading {
  events: PredictionEvent[]
  /** There is nothing more for this interest up to here. */
  through: number
  /** Null, or: events behind the reader's place were pruned, up to this one. */
  prunedTo: number | null
}

export interface Feed {
  /** How far the tail has read. */
  readonly head: number
  /** What is behind it is in the ring; what is not, in the store. */
  readonly floor: number
  /** At most a batch; at once if it is in the ring. */
  read(interest: Interest, after: number): Reading | Promise<Reading>
  /** Calls `wake` for each event, in the turn in which it is there to be read. Answers with the way to stop. */
  listen(interest: Interest, wake: (seq: number) => void): () => void
  /** While a reader is served from `place`, nothing behind it is pruned. */
  hold(place: number): Hold
  /** The lowest place that is held. */
  lowestHeld(): number | null
  close(): void
}

export interface Hold {
  moveTo(place: number): void
  release(): void
}

export interface FeedOptions {
  store: Pick<Events, 'eventBounds' | 'eventsAfter' | 'logAfter'>
  bell: Bell
  log: { error(fields: object, message: string): void }
  ringBytes?: number
}

const BATCH = 100
/** A prompt may have a million characters. */
const STORE_BATCH = 25
/** A start reads so many of the newest events, for those who come back after a restart. */
const WARM = 1000
const RING_BYTES = 8 * 1024 * 1024
/** Without a ring the tail looks this often: another process may have written. */
const RECHECK_MS = 5000
/** Thousands may listen: so long at a time. */
const SLICE_MS = 5
/** After a read that failed. */
const RETRY_MS = 500
/** A reader that has not moved for so long no longer keeps the log from being pruned. */
const HOLD_MS = 60 * 60 * 1000

export async function createFeed({ store, bell, log, ringBytes = RING_BYTES }: FeedOptions): Promise<Feed> {
  const bounds = await store.eventBounds()
  const ring = createRing(Math.max(bounds.floor, bounds.head - WARM), ringBytes)
  const listeners = new Map<string, Set<Listener>>()
  const holds = new Set<{ place: number; movedAt: number }>()
  const closing = new AbortController()
  const { signal } = closing

  async function tail(): Promise<void> {
    let failing = false
    while (!signal.aborted) {
      const armed = bell.arm()
      try {
        let until = performance.now() + SLICE_MS
        const { events, floor } = await store.logAfter(ring.head, STORE_BATCH)
        failing = false
        if (floor > ring.head) skipTo(floor)
        for (const event of events) {
          arrive(event)
          if (performance.now() < until) continue
          await setImmediate()
          until = performance.now() + SLICE_MS
        }
        if (events.length === STORE_BATCH) await setImmediate()
        else await armed.rung(RECHECK_MS, signal)
      } catch (error) {
        if (!failing) log.error({ err: error }, 'the event log could not be read; it is read again')
        failing = true
        await setTimeout(RETRY_MS, undefined, { signal }).catch(() => {})
      } finally {
        armed.disarm()
      }
    }
  }

  function arrive(event: PredictionEvent): void {
    ring.push(event)
    for (const topic of [event.prediction.appId, event.prediction.id])
      for (const { interest, wake } of listeners.get(topic) ?? []) if (isFor(interest, event)) wake(event.seq)
  }

  /** Pruned while the process slept: each who listens reads the store, and is told. */
  function skipTo(floor: number): void {
    const skipped = ring.head + 1
    ring.reset(floor)
    for (const some of listeners.values()) for (const { wake } of some) wake(skipped)
  }

  void tail()

  return {
    get head() {
      return ring.head
    },
    get floor() {
      return ring.floor
    },

    read(interest, after) {
      if (after >= ring.floor)
        return { ...ring.after(after, BATCH, event => isFor(interest, event)), prunedTo: null }
      return readStore(interest, after)
    },

    listen(interest, wake) {
      const topic = topicOf(interest)
      const listener = { interest, wake }
      const some = listeners.get(topic) ?? new Set()
      listeners.set(topic, some.add(listener))
      return () => {
        some.delete(listener)
        if (some.size === 0) listeners.delete(topic)
      }
    },

    hold(place) {
      const hold = { place, movedAt: Date.now() }
      holds.add(hold)
      return {
        moveTo(to) {
          if (to !== hold.place) Object.assign(hold, { place: to, movedAt: Date.now() })
        },
        release: () => void holds.delete(hold),
      }
    },

    lowestHeld() {
      let lowest: number | null = null
      for (const { place, movedAt } of holds)
        if (Date.now() - movedAt < HOLD_MS) lowest = Math.min(lowest ?? place, place)
      return lowest
    },

    close: () => closing.abort(),
  }

  async function readStore({ scope, predictionId, filter = {} }: Interest, after: number): Promise<Reading> {
    const { events, through, floor } = await store.eventsAfter({
      scope,
      after,
      limit: STORE_BATCH,
      ...(predictionId !== undefined && { predictionId }),
    })
    // What the tail has not read yet will wake whoever listens; nobody may be past it by then.
    const { head } = ring
    const prunedTo = after < floor ? floor : null
    return {
      events: events.filter(event => event.seq <= head && matches(filter, event.prediction)),
      through: Math.max(Math.min(through, head), prunedTo ?? 0),
      prunedTo,
    }
  }
}

interface Listener {
  interest: Interest
  wake(seq: number): void
}

const topicOf = ({ scope, predictionId }: Interest): string => predictionId ?? scope.appId

const isFor = ({ scope, predictionId, filter = {} }: Interest, { prediction }: PredictionEvent): boolean =>
  sees(scope, prediction) &&
  (predictionId === undefined || prediction.id === predictionId) &&
  matches(filter, prediction)
