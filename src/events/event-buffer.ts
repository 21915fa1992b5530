/**
 * The newest events of the log, as far as a number of bytes goes.
 * Invariant: every event behind `floor` and up to `head` is here. `seq` has no gaps, so an event's place is its index.
 */
import type { PredictionEvent } from '../domain/prediction.ts'

export interface Ring {
  readonly floor: number
  readonly head: number
  /** The event behind `head`. */
  push(event: PredictionEvent): void
  /** At most `limit` events behind `after` that pass, and how far it looked. `after` is not below `floor`. */
  after(after: number, limit: number, passes: (event: PredictionEvent) => boolean): Found
  /** Empty, and `head` is there. */
  reset(head: number): void
}

export interface Found {
  events: PredictionEvent[]
  through: number
}

interface Entry {
  event: PredictionEvent
  bytes: number
}

/** What an event takes beside its texts, roughly. */
const OVERHEAD = 1200

export function createRing(head: number, mostBytes: number): Ring {
  let held: (Entry | undefined)[] = []
  /** Those before it have been let go of: to move all others up for each takes long. */
  let first = 0
  let floor = head
  let bytes = 0

  return {
    get floor() {
      return floor
    },
    get head() {
      return floor + held.length - first
    },

    push(event) {
      const entry = { event, bytes: textOf(event) + OVERHEAD }
      held.push(entry)
      bytes += entry.bytes
      for (; bytes > mostBytes; floor++) {
        bytes -= held[first]!.bytes
        held[first++] = undefined
      }
      if (first <= held.length / 2) return
      held = held.slice(first)
      first = 0
    },

    after(after, limit, passes) {
      const events: PredictionEvent[] = []
      for (let i = first + after - floor; i < held.length; i++) {
        const { event } = held[i]!
        if (!passes(event)) continue
        events.push(event)
        if (events.length === limit) return { events, through: event.seq }
      }
      return { events, through: Math.max(after, floor + held.length - first) }
    },

    reset(to) {
      held = []
      first = 0
      floor = to
      bytes = 0
    },
  }
}

/** As long as the app and upstream made it. */
function textOf({ prediction: { input, tags, metadata, outputs } }: PredictionEvent): number {
  const { imageUrl, prompt, negativePrompt } = input
  const others = JSON.stringify([tags, metadata, outputs])
  return imageUrl.length + prompt.length + (negativePrompt?.length ?? 0) + others.length
}
