/**
 * The newest events of the log, as far as a number of bytes goes.
 * Invariant: every event behind `floor` and up to `head` is here. `seq` has no gaps, so an event's place is its index.
 */
import type { PredictionEvent } from '../domain/prediction.ts'

interface EventBuffer {
  readonly bufferedAfter: number
  readonly head: number
  /** The event behind `head`. */
  push(event: PredictionEvent): void
  /** At most `limit` events behind `after` that pass, and how far it looked. `after` is not below `floor`. */
  read(afterSeq: number, limit: number, isWanted: (event: PredictionEvent) => boolean): EventScan
  /** Empty, and `head` is there. */
  reset(head: number): void
}

interface EventScan {
  events: PredictionEvent[]
  scannedUpTo: number
}

interface Entry {
  event: PredictionEvent
  bytes: number
}

/** What an event takes beside its texts, roughly. */
const EVENT_OVERHEAD_BYTES = 1200

export function createEventBuffer(head: number, maxBytes: number): EventBuffer {
  let entries: (Entry | undefined)[] = []
  /** Those before it have been let go of: to move all others up for each takes long. */
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

/** As long as the app and upstream made it. */
function textLength({ prediction: { input, tags, metadata, outputs } }: PredictionEvent): number {
  const { imageUrl, prompt, negativePrompt } = input
  const others = JSON.stringify([tags, metadata, outputs])
  return imageUrl.length + prompt.length + (negativePrompt?.length ?? 0) + others.length
}
