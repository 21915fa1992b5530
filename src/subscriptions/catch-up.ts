/**
 * Catches one subscriber up from its own `lastSeq` to the head of the event log: a replay, or a client that
 * read too slowly.
 * Invariant: the subscriber is found to be at the head and joins `group.live` synchronously, without an `await` in
 * between, so no event falls between. While its client does not read, nothing is kept but `lastSeq`.
 */
import type { EventBatch, EventLog, Pin } from '../events/event-log.ts'
import type { SubscriptionSource } from '../events/subscription-source.ts'
import { type ErrorLog, maskError } from '../graphql/error-mask.ts'
import type { FairScheduler } from '../runtime/fair-scheduler.ts'
import type { Payload, PayloadCache } from './shared-operation.ts'
import type { Subscriber, SubscriptionGroup } from './subscription-group.ts'

/** Starts at the `source`, if there is one. Ends when the subscriber is live, or has ended. */
export type CatchUp = (
  group: SubscriptionGroup,
  subscriber: Subscriber,
  source: SubscriptionSource | null,
) => void

/** Bytes of payloads after which a write is sent. */
export const WRITE_BYTES = 32 * 1024

export function createCatchUp(options: {
  eventLog: EventLog
  payloadCache: PayloadCache
  nextSlice: FairScheduler['nextSlice']
  log: ErrorLog
}): CatchUp {
  const { eventLog, payloadCache, nextSlice, log } = options

  /** Last store read of each app: the replays of one app do not delay another app's. */
  const lastStoreRead = new Map<string, Promise<void>>()

  /** Returns whether a replay follows. */
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
      await subscriber.sink.writer.whenDrained()
      if (subscriber.hasEnded) return
      pin.moveTo(subscriber.lastSeq)
      if (subscriber.lastSeq >= eventLog.head && !isReplaying) return void group.live.add(subscriber)
      if (subscriber.lastSeq < eventLog.bufferedAfter)
        await runExclusively(operation.appId, () => deliverNextBatch(group, subscriber))
      else await deliverNextBatch(group, subscriber)
      if (!isReplaying || subscriber.lastSeq < eventLog.head) continue
      isReplaying = false
      if (source.caughtUpMessage)
        await deliverWhenDrained(subscriber, [
          await operation.execute(source.caughtUpMessage(await eventLog.positionOf(subscriber.lastSeq))),
        ])
    }
  }

  /** Keeps at most one batch from the store in memory per app, however many subscribers replay. */
  function runExclusively(appId: string, work: () => Promise<void>): Promise<void> {
    const done = (lastStoreRead.get(appId) ?? Promise.resolve()).then(work)
    const last = done
      .catch(() => {})
      .then(() => {
        if (lastStoreRead.get(appId) === last) lastStoreRead.delete(appId)
      })
    lastStoreRead.set(appId, last)
    return done
  }

  /** Never waits for the client: other replays of the app wait for this batch. */
  async function deliverNextBatch(group: SubscriptionGroup, subscriber: Subscriber): Promise<void> {
    const { source, operation } = group
    await nextSlice(operation.sliceOwner)
    if (subscriber.hasEnded) return
    const batch = await eventLog.read(source.selector, subscriber.lastSeq)
    const { missedUpTo } = batch
    if (missedUpTo !== null) {
      subscriber.deliver([await operation.execute(await source.gapMessage(missedUpTo))])
      subscriber.lastSeq = missedUpTo
    }
    subscriber.lastSeq = await deliverEvents(group, subscriber, batch)
  }

  /**
   * Returns the last seq delivered. If the client stops reading, the rest is dropped, and read again later.
   */
  async function deliverEvents(
    group: SubscriptionGroup,
    subscriber: Subscriber,
    { events, scannedUpTo }: EventBatch,
  ): Promise<number> {
    const [first] = events
    const last = events.at(-1)
    const pending: Payload[] = []
    let bytes = 0
    let { lastSeq } = subscriber
    for (const event of events) {
      if (subscriber.hasEnded || subscriber.sink.writer.isFull()) return lastSeq
      // The first event is part of the slice in which the batch was read.
      if (event !== first) await nextSlice(group.operation.sliceOwner)
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

  /** Delivers once the sink has room. */
  async function deliverWhenDrained(subscriber: Subscriber, payloads: readonly Payload[]): Promise<void> {
    await subscriber.sink.writer.whenDrained()
    if (!subscriber.hasEnded) subscriber.deliver(payloads)
  }

  return (group, subscriber, source) => {
    const pin = eventLog.pin(source?.pinSeq ?? subscriber.lastSeq)
    const started = source === null ? Promise.resolve(false) : start(group, subscriber, source)
    started
      .then(isReplay => catchUpToHead(group, subscriber, pin, isReplay))
      .catch(error => subscriber.end(maskError(error, log)))
      .finally(() => pin.release())
  }
}
