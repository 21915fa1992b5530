/**
 * Deliveries of one server by event number: bytes, first and last arrival.
 * Invariant: an event is parsed once. Later deliveries of it must have the same bytes.
 */
import { microseconds } from '../clock.ts'
import { eventNumber, type FeedEvent } from '../event.ts'

/** Microseconds. */
export interface Arrival {
  first: number
  last: number
}

export interface DeliveryLog {
  /**
   * Records a `next` frame whose payload begins at `start`. Returns the event's number, or the cursor of
   * FeedCaughtUp. `expected` null allows any event.
   */
  record(frame: Buffer, start: number, expected: number | null): number | string
  /** Null until every client has it. */
  arrival(number: number): Arrival | null
  /** Events and their bytes since the last call, all clients together. */
  tally(): { messages: number; bytes: number }
}

interface Entry extends Arrival {
  payload: Buffer
  count: number
}

/**
 * @param audienceSize number of clients that receive each event
 * @param onComplete called when the last of them has that event
 */
export function createDeliveryLog(
  audienceSize: () => number,
  onComplete: (number: number) => void,
): DeliveryLog {
  const entries = new Map<number, Entry>()
  let messages = 0
  let bytes = 0

  function readItem(frame: Buffer, start: number, expected: number | null): number | string {
    const item = JSON.parse(frame.toString('utf8', start, frame.length - 1)).data?.predictionFeed
    if (item?.__typename === 'FeedCaughtUp') return item.cursor
    if (item?.__typename !== 'PredictionEvent') throw new Error(`not an event: ${frame}`)
    const number = eventNumber(item as FeedEvent)
    if (number !== (expected ?? number))
      throw new Error(`event ${number} arrived instead of ${expected}: ${frame}`)
    return number
  }

  function add(number: number, payload: Buffer): Entry {
    const entry = { payload: Buffer.from(payload), count: 0, first: microseconds(), last: 0 }
    entries.set(number, entry)
    return entry
  }

  const isSame = ({ payload }: Entry, frame: Buffer, start: number) =>
    frame.compare(payload, 0, payload.length, start) === 0

  return {
    record(frame, start, expected) {
      let number = expected ?? -1
      let entry = entries.get(number)
      if (entry === undefined || !isSame(entry, frame, start)) {
        const result = readItem(frame, start, expected)
        if (typeof result === 'string') return result
        number = result
        entry = entries.get(number) ?? add(number, frame.subarray(start))
        if (!isSame(entry, frame, start))
          throw new Error(`event ${number} has different bytes for two clients: ${frame}`)
      }
      messages++
      bytes += frame.length
      if (++entry.count === audienceSize()) {
        entry.last = microseconds()
        onComplete(number)
      }
      return number
    },

    arrival(number) {
      const { first, last } = entries.get(number) ?? { first: 0, last: 0 }
      return last === 0 ? null : { first, last }
    },

    tally() {
      const tallied = { messages, bytes }
      messages = bytes = 0
      return tallied
    },
  }
}
