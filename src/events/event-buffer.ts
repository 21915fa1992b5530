/**
 * The newest events of the log, within a number of bytes.
 * Invariant: it holds every event after `bufferedAfter` and up to `head`. `seq` has no gaps, so an event's index
 * follows from its `seq`.
 */
import type { PredictionEvent } from '../domain/prediction.ts'

interface EventBuffer {
  readonly bufferedAfter: number
  readonly head: number
  /** Appends the event with `seq` = `head` + 1. */
  push(event: PredictionEvent): void
  /** Returns at most `limit` wanted events after `afterSeq`, which must not be below `bufferedAfter`. */
  read(afterSeq: number, limit: number, isWanted: (event: PredictionEvent) => boolean): EventScan
  /** Empties the buffer and sets `head`. */
  reset(head: number): void
}

interface EventScan {
  events: PredictionEvent[]
  /** `events` has every wanted event up to this `seq`. */
  scannedUpTo: number
}

interface Entry {
  event: PredictionEvent
  bytes: number
}

/** Estimated bytes of an event beside its texts. */
const EVENT_OVERHEAD_BYTES = 1200

export function createEventBuffer(head: number, maxBytes: number): EventBuffer {
  let entries: (Entry | undefined)[] = []
  /** Index of the first entry in use. Shifting the array on every eviction would be slow. */
  let firstIndex = 0
  let bufferedAfter = head
  let bytes = 0

  return {
    get bufferedAfter() {
      return bufferedAfter
    },
    get head() {
      return bufferedAfter + entries.length - firstIndex
    },

    push(event) {
      const entry = { event, bytes: textLength(event) + EVENT_OVERHEAD_BYTES }
      entries.push(entry)
      bytes += entry.bytes
      for (; bytes > maxBytes; bufferedAfter++) {
        bytes -= entries[firstIndex]!.bytes
        entries[firstIndex++] = undefined
      }
      if (firstIndex <= entries.length / 2) return
      entries = entries.slice(firstIndex)
      firstIndex = 0
    },

    read(afterSeq, limit, isWanted) {
      const events: PredictionEvent[] = []
      for (let i = firstIndex + afterSeq - bufferedAfter; i < entries.length; i++) {
        const { event } = entries[i]!
        if (!isWanted(event)) continue
        events.push(event)
        if (events.length === limit) return { events, scannedUpTo: event.seq }
      }
      return { events, scannedUpTo: Math.max(afterSeq, bufferedAfter + entries.length - firstIndex) }
    },

    reset(newHead) {
      entries = []
      firstIndex = 0
      bufferedAfter = newHead
      bytes = 0
    },
  }
}

/** Length of the texts that the app and upstream set. */
function textLength({ prediction: { input, tags, metadata, outputs } }: PredictionEvent): number {
  const { imageUrl, prompt, negativePrompt } = input
  const others = JSON.stringify([tags, metadata, outputs])
  return imageUrl.length + prompt.length + (negativePrompt?.length ?? 0) + others.length
}
