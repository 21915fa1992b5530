/**
 * Subscribers with the same operation, and one of them.
 * Invariant: a subscriber starts once, at its first `next`, and ends once. After its end nothing refers to
 * it. While it lives it does not keep its request: thousands of subscribers live long.
 */
import type { SubscriptionSource } from '../events/subscription-source.ts'
import type { Payload, SharedOperation } from './shared-operation.ts'
import type { SubscriptionCharge } from './subscription-budget.ts'

/** State of a connection that a client may read slowly. */
export interface Backpressure {
  /** Full: send nothing until `whenDrained` resolves. */
  isFull(): boolean
  /** Resolves once there is room, or the connection is closed. */
  whenDrained(): Promise<void>
}

/** Destination of a subscription's payloads: a WebSocket, or the response of an HTTP request. */
export interface OperationSink {
  readonly writer: Backpressure
  /** Approximate bytes that it holds of its request. */
  readonly heldBytes: number
  /** Sends all in one write. Returns false if the client has gone. */
  send(payloads: readonly Payload[]): boolean
}

export interface SubscriptionGroup {
  operation: SharedOperation
  source: SubscriptionSource
  /** Every event up to this seq has been offered to the live subscribers. */
  lastSeq: number
  /** Subscribers that are at `lastSeq` or ahead of it. */
  live: Set<Subscriber>
  /** Number of all subscribers, live or catching up. */
  size: number
  lastDeliveryAt: number
  isDelivering: boolean
  hasMore: boolean
  stopListening(): void
}

/** The request of a subscriber that has not started yet. Released at the start. */
export interface SubscriptionRequest {
  operation: SharedOperation
  source: SubscriptionSource
}

export interface SubscriptionHost {
  /** Returns the group of the subscriber. */
  join(subscriber: Subscriber, request: SubscriptionRequest): SubscriptionGroup
  leave(subscriber: Subscriber, group: SubscriptionGroup): void
}

const DONE = { done: true, value: undefined } as const
const ALREADY_DONE = Promise.resolve(DONE)

/** Payloads go to the sink. Its single `next` starts the subscriber, and resolves at its end. */
export class Subscriber implements AsyncIterableIterator<never, undefined> {
  readonly sink: OperationSink
  readonly charge: SubscriptionCharge
  /**
   * Its position while it catches up. While it is live, this is its position when it joined the live set, and its true
   * position is `max(group.lastSeq, lastSeq)`.
   */
  lastSeq = 0
  hasEnded = false
  readonly #host: SubscriptionHost
  #request: SubscriptionRequest | null
  #group: SubscriptionGroup | null = null
  #completion: Promise<typeof DONE> = ALREADY_DONE
  #resolve: ((done: typeof DONE) => void) | null = null
  #reject: ((error: unknown) => void) | null = null

  constructor(
    sink: OperationSink,
    request: SubscriptionRequest,
    charge: SubscriptionCharge,
    host: SubscriptionHost,
  ) {
    this.sink = sink
    this.charge = charge
    this.#request = request
    this.#host = host
  }

  next(): Promise<typeof DONE> {
    if (this.#request === null) return this.#completion
    const request = this.#request
    this.#request = null
    this.#completion = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    this.#group = this.#host.join(this, request)
    return this.#completion
  }

  return(): Promise<typeof DONE> {
    this.end()
    return ALREADY_DONE
  }

  /** @param error masked */
  end(error?: unknown): void {
    if (this.hasEnded) return
    this.hasEnded = true
    this.#request = null
    if (this.#group) this.#host.leave(this, this.#group)
    if (error === undefined) this.#resolve?.(DONE)
    else this.#reject?.(error)
  }

  /** Ends after the last payload, or if the client has gone. */
  deliver(payloads: readonly Payload[]): void {
    if (payloads.length > 0 && (!this.sink.send(payloads) || payloads.at(-1)!.isLast)) this.end()
  }

  [Symbol.asyncIterator](): this {
    return this
  }
}
