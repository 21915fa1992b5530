/**
 * One subscriber by itself, from its own place to the head of the feed: a replay, or a peer that did not read.
 * Invariant: it comes into line in the same turn in which it is found to be no further back than the head, so nothing falls
 * between. While its peer does not read it holds nothing but its place.
 */
import type { EventBatch, EventLog, Pin } from '../events/event-log.ts'
import type { SubscriptionSource } from '../events/subscription-source.ts'
import { type ErrorLog, maskError } from '../graphql/error-mask.ts'
import type { FairScheduler } from '../runtime/fair-scheduler.ts'
import type { Payload, PayloadCache } from './shared-operation.ts'
import type { Subscriber, SubscriptionGroup } from './subscription-group.ts'

/** From its beginning if there is a `source`. Into line, or to its end. */
export type CatchUp = (
  group: SubscriptionGroup,
  subscriber: Subscriber,
  source: SubscriptionSource | null,
) => void

/** What is written at once. */
export const WRITE_BYTES = 32 * 1024

export function createCatchUp(options: {
  eventLog: EventLog
  payloadCache: PayloadCache
  scheduler: FairScheduler
  log: ErrorLog
}): CatchUp {
  const { eventLog, payloadCache, scheduler, log } = options

  /** By owner: nobody waits for another's replays. */
  const lastStoreRead = new Map<string, Promise<void>>()

  /** Whether a replay follows. */
  async function start(
    { operation }: SubscriptionGroup,
    subscriber: Subscriber,
    source: SubscriptionSource,
  ): Promise<boolean> {
    const { seq, initialMessage, isReplay } = await source.resolveStart()
    subscriber.lastSeq = seq
    if (initialMessage !== null)
      await deliverWhenDrained(subscriber, [await operation.execute(initialMessage)])
    return isReplay
  }

  async function catchUpToHead(
    group: SubscriptionGroup,
    subscriber: Subscriber,
    pin: Pin,
    isReplay: boolean,
  ): Promise<void> {
    const { source, operation } = group
    let isReplaying = isReplay
    for (;;) {
      await subscriber.sink.whenDrained()
      if (subscriber.hasEnded) return
      pin.moveTo(subscriber.lastSeq)
      if (subscriber.lastSeq >= eventLog.head && !isReplaying) return void group.live.add(subscriber)
      if (subscriber.lastSeq < eventLog.bufferedAfter)
        await runExclusively(operation.owner, () => deliverNextBatch(group, subscriber))
      else await deliverNextBatch(group, subscriber)
      if (!isReplaying || subscriber.lastSeq < eventLog.head) continue
      isReplaying = false
      if (source.caughtUpMessage)
        await deliverWhenDrained(subscriber, [
          await operation.execute(source.caughtUpMessage(subscriber.lastSeq)),
        ])
    }
  }

  /** What was read from the store is held once at a time for an app, however many read. */
  function runExclusively(owner: string, work: () => Promise<void>): Promise<void> {
    const done = (lastStoreRead.get(owner) ?? Promise.resolve()).then(work)
    const last = done
      .catch(() => {})
      .then(() => {
        if (lastStoreRead.get(owner) === last) lastStoreRead.delete(owner)
      })
    lastStoreRead.set(owner, last)
    return done
  }

  /** Waits for nobody who reads: others wait for it. */
  async function deliverNextBatch(group: SubscriptionGroup, subscriber: Subscriber): Promise<void> {
    const { source, operation } = group
    await scheduler.nextSlice(group.operation.owner)
    if (subscriber.hasEnded) return
    const batch = await eventLog.read(source.selector, subscriber.lastSeq)
    const { missedUpTo } = batch
    if (missedUpTo !== null) {
      subscriber.deliver([await operation.execute(await source.gapMessage(missedUpTo))])
      subscriber.lastSeq = missedUpTo
    }
    subscriber.lastSeq = await deliverEvents(group, subscriber, batch)
  }

  /** Answers with how far it came: where the peer reads no more, the rest is let go and read again later. */
  async function deliverEvents(
    group: SubscriptionGroup,
    subscriber: Subscriber,
    { events, scannedUpTo }: EventBatch,
  ): Promise<number> {
    const last = events.at(-1)
    const pending: Payload[] = []
    let bytes = 0
    let { lastSeq } = subscriber
    for (const event of events) {
      if (subscriber.hasEnded || subscriber.sink.isFull()) return lastSeq
      await scheduler.nextSlice(group.operation.owner)
      const payload = await payloadCache.get(group, event)
      pending.push(payload)
      bytes += payload.json.length
      if (bytes < WRITE_BYTES && event !== last) continue
      subscriber.deliver(pending.splice(0))
      lastSeq = event.seq
      bytes = 0
    }
    return subscriber.hasEnded ? lastSeq : scannedUpTo
  }

  /** Once there is room. */
  async function deliverWhenDrained(subscriber: Subscriber, payloads: readonly Payload[]): Promise<void> {
    await subscriber.sink.whenDrained()
    if (!subscriber.hasEnded) subscriber.deliver(payloads)
  }

  return (group, subscriber, source) => {
    const pin = eventLog.pin(source?.pinSeq ?? subscriber.lastSeq)
    const started = source === null ? Promise.resolve(false) : start(group, subscriber, source)
    started
      .then(replays => catchUpToHead(group, subscriber, pin, replays))
      .catch(error => subscriber.end(maskError(error, log)))
      .finally(() => pin.release())
  }
}
