/**
 * One subscriber by itself, from its own place to the head of the feed: a replay, or a peer that did not read.
 * Invariant: it comes into line in the same turn in which it is found to be no further back than the head, so nothing falls
 * between. While its peer does not read it holds nothing but its place.
 */
import type { Feed, Hold, Reading } from '../events/event-log.ts'
import type { Source } from '../events/subscription-source.ts'
import { type ErrorLog, mask } from '../graphql/error-mask.ts'
import type { Turns } from '../runtime/fair-scheduler.ts'
import type { Payload, Payloads } from './shared-operation.ts'
import type { Line, Subscriber } from './subscription-group.ts'

/** From its beginning if there is a `source`. Into line, or to its end. */
export type CatchUp = (line: Line, subscriber: Subscriber, source: Source | null) => void

/** What is written at once. */
export const WRITE_BYTES = 32 * 1024

export function createCatchUp(parts: {
  feed: Feed
  payloads: Payloads
  turns: Turns
  log: ErrorLog
}): CatchUp {
  const { feed, payloads, turns, log } = parts

  /** By owner: nobody waits for another's replays. */
  const lastAlone = new Map<string, Promise<void>>()

  /** Whether a replay follows. */
  async function begin({ question }: Line, subscriber: Subscriber, source: Source): Promise<boolean> {
    const { place, first, replays } = await source.begin()
    subscriber.place = place
    if (first !== null) await give(subscriber, [await question.answer(first)])
    return replays
  }

  async function follow(line: Line, subscriber: Subscriber, hold: Hold, replays: boolean): Promise<void> {
    const { source, question } = line
    let replaying = replays
    for (;;) {
      await subscriber.sink.drained()
      if (subscriber.ended) return
      hold.moveTo(subscriber.place)
      if (subscriber.place >= feed.head && !replaying) return void line.inLine.add(subscriber)
      if (subscriber.place < feed.floor) await alone(question.owner, () => step(line, subscriber))
      else await step(line, subscriber)
      if (!replaying || subscriber.place < feed.head) continue
      replaying = false
      if (source.caughtUp) await give(subscriber, [await question.answer(source.caughtUp(subscriber.place))])
    }
  }

  /** What was read from the store is held once at a time for an app, however many read. */
  function alone(owner: string, work: () => Promise<void>): Promise<void> {
    const done = (lastAlone.get(owner) ?? Promise.resolve()).then(work)
    const last = done
      .catch(() => {})
      .then(() => {
        if (lastAlone.get(owner) === last) lastAlone.delete(owner)
      })
    lastAlone.set(owner, last)
    return done
  }

  /** Waits for nobody who reads: others wait for it. */
  async function step(line: Line, subscriber: Subscriber): Promise<void> {
    const { source, question } = line
    await turns.next(line.question.owner)
    if (subscriber.ended) return
    const reading = await feed.read(source.interest, subscriber.place)
    const { prunedTo } = reading
    if (prunedTo !== null) {
      subscriber.give([await question.answer(await source.gap(prunedTo))])
      subscriber.place = prunedTo
    }
    subscriber.place = await giveEvents(line, subscriber, reading)
  }

  /** Answers with how far it came: where the peer reads no more, the rest is let go and read again later. */
  async function giveEvents(
    line: Line,
    subscriber: Subscriber,
    { events, through }: Reading,
  ): Promise<number> {
    const last = events.at(-1)
    const some: Payload[] = []
    let bytes = 0
    let { place } = subscriber
    for (const event of events) {
      if (subscriber.ended || subscriber.sink.isFull()) return place
      await turns.next(line.question.owner)
      const payload = await payloads.of(line, event)
      some.push(payload)
      bytes += payload.tail.length
      if (bytes < WRITE_BYTES && event !== last) continue
      subscriber.give(some.splice(0))
      place = event.seq
      bytes = 0
    }
    return subscriber.ended ? place : through
  }

  /** Once there is room. */
  async function give(subscriber: Subscriber, some: readonly Payload[]): Promise<void> {
    await subscriber.sink.drained()
    if (!subscriber.ended) subscriber.give(some)
  }

  return (line, subscriber, source) => {
    const hold = feed.hold(source?.from ?? subscriber.place)
    const begun = source === null ? Promise.resolve(false) : begin(line, subscriber, source)
    begun
      .then(replays => follow(line, subscriber, hold, replays))
      .catch(error => subscriber.end(mask(error, log)))
      .finally(() => hold.release())
  }
}
