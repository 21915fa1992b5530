/**
 * The newest events of the log, within a number of bytes.
 * Invariant: it holds every event after `bufferedAfter` that was appended. `seq` has no gaps, so an event's index follows
 * from its `seq`.
 */
import type { PredictionEvent } from '../domain/prediction.ts'

interface EventBuffer {
  readonly bufferedAfter: number
  /** Appends the event with the next `seq`. */
  push(event: PredictionEvent): void
  /** Returns at most `limit` events after `afterSeq`; null if an event after it is no longer in the buffer. */
  eventsAfter(afterSeq: number, limit: number): readonly PredictionEvent[] | null
  /** Empties the buffer. The next event has `seq` = `head` + 1. */
  reset(head: number): void
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

    eventsAfter(afterSeq, limit) {
      if (afterSeq < bufferedAfter) return null
      const start = firstIndex + afterSeq - bufferedAfter
      return entries.slice(start, start + limit).map(entry => entry!.event)
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
