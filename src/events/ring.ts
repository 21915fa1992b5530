/**
 * The newest events of the log, as far as a number of bytes goes.
 * Invariant: every event behind `floor` and up to `head` is here. `seq` has no gaps, so an event's place is its index.
 */
import type { PredictionEvent } from '../prediction.ts'

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

/** What an event takes beside its texts, roughly. */
const OVERHEAD = 1200

export function createRing(head: number, mostBytes: number): Ring {
  let held: { event: PredictionEvent; bytes: number }[] = []
  let floor = head
  let bytes = 0

  return {
    get floor() {
      return floor
    },
    get head() {
      return floor + held.length
    },

    push(event) {
      const entry = { event, bytes: textOf(event) + OVERHEAD }
      held.push(entry)
      bytes += entry.bytes
      let out = 0
      while (bytes > mostBytes) bytes -= held[out++]!.bytes
      if (out > 0) held.splice(0, out)
      floor += out
    },

    after(after, limit, passes) {
      const events: PredictionEvent[] = []
      for (let i = after - floor; i < held.length; i++) {
        const { event } = held[i]!
        if (!passes(event)) continue
        events.push(event)
        if (events.length === limit) return { events, through: event.seq }
      }
      return { events, through: Math.max(after, floor + held.length) }
    },

    reset(to) {
      held = []
      floor = to
      bytes = 0
    },
  }
}

/** As long as the app and upstream made it. */
function textOf({ prediction: { input, tags, metadata, outputs } }: PredictionEvent): number {
  const { imageUrl, prompt, negativePrompt } = input
  const whole = metadata === null && outputs.length === 0 ? 0 : JSON.stringify([metadata, outputs]).length
  const tagged = tags.reduce((sum, tag) => sum + tag.length, 0)
  return imageUrl.length + prompt.length + (negativePrompt?.length ?? 0) + tagged + whole
}
