/**
 * Everyone with the same question, and one of them.
 * Invariant: a subscriber begins once, at its first `next`, and ends once; from its end on nothing holds it. While it
 * lives it holds nothing of how it was asked for: thousands of them live long.
 */
import type { SubscriptionSource } from '../events/subscription-source.ts'
import type { Payload, SharedOperation } from './shared-operation.ts'

/** Where a subscriber's payloads go. */
export interface PayloadSink {
  /** Nothing more is given to it until `drained`. */
  isFull(): boolean
  /** Resolves once it is not full, or gone. */
  whenDrained(): Promise<void>
  /** In one write. False: nobody is there any more. */
  send(payloads: readonly Payload[]): boolean
}

export interface SubscriptionGroup {
  operation: SharedOperation
  source: SubscriptionSource
  /** Everything up to here has been offered to those in line. */
  lastSeq: number
  /** Those who keep up. */
  live: Set<Subscriber>
  /** With those who read alone. */
  size: number
  lastDeliveryAt: number
  isDelivering: boolean
  hasMore: boolean
  stopListening(): void
}

/** What was asked, until it begins. */
export interface SubscriptionRequest {
  operation: SharedOperation
  source: SubscriptionSource
}

export interface SubscriptionHost {
  /** Answers with its line. */
  join(subscriber: Subscriber, request: SubscriptionRequest): SubscriptionGroup
  leave(subscriber: Subscriber, group: SubscriptionGroup): void
}

const DONE = { done: true, value: undefined } as const
const ALREADY_DONE = Promise.resolve(DONE)

/** Its values go to the sink: its one `next` begins it, and resolves at its end. */
export class Subscriber implements AsyncIterableIterator<never, undefined> {
  readonly sink: PayloadSink
  /** Everything up to here has been given to it. */
  lastSeq = 0
  hasEnded = false
  readonly #host: SubscriptionHost
  #request: SubscriptionRequest | null
  #group: SubscriptionGroup | null = null
  #completion: Promise<typeof DONE> = ALREADY_DONE
  #resolve: ((done: typeof DONE) => void) | null = null
  #reject: ((error: unknown) => void) | null = null

  constructor(sink: PayloadSink, request: SubscriptionRequest, host: SubscriptionHost) {
    this.sink = sink
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

  /** The last thing there is to tell ends it, and so does a sink that is gone. */
  deliver(payloads: readonly Payload[]): void {
    if (payloads.length > 0 && (!this.sink.send(payloads) || payloads.at(-1)!.isLast)) this.end()
  }

  [Symbol.asyncIterator](): this {
    return this
  }
}
