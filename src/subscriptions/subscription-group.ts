/**
 * Everyone with the same question, and one of them.
 * Invariant: a subscriber begins once, at its first `next`, and ends once; from its end on nothing holds it. While it
 * lives it holds nothing of how it was asked for: thousands of them live long.
 */
import type { Source } from '../events/subscription-source.ts'
import type { Payload, Question } from './shared-operation.ts'

/** Where a subscriber's payloads go. */
export interface Sink {
  /** Nothing more is given to it until `drained`. */
  isFull(): boolean
  /** Resolves once it is not full, or gone. */
  drained(): Promise<void>
  /** In one write. False: nobody is there any more. */
  send(payloads: readonly Payload[]): boolean
}

export interface Line {
  question: Question
  source: Source
  /** Everything up to here has been offered to those in line. */
  place: number
  /** Those who keep up. */
  inLine: Set<Subscriber>
  /** With those who read alone. */
  size: number
  toldAt: number
  moving: boolean
  again: boolean
  unlisten(): void
}

/** What was asked, until it begins. */
export interface Asked {
  question: Question
  source: Source
}

export interface Home {
  /** Answers with its line. */
  begin(subscriber: Subscriber, asked: Asked): Line
  leave(subscriber: Subscriber, line: Line): void
}

const DONE = { done: true, value: undefined } as const
const ENDED = Promise.resolve(DONE)

/** Its values go to the sink: its one `next` begins it, and resolves at its end. */
export class Subscriber implements AsyncIterableIterator<never, undefined> {
  readonly sink: Sink
  /** Everything up to here has been given to it. */
  place = 0
  ended = false
  readonly #home: Home
  #asked: Asked | null
  #line: Line | null = null
  #done: Promise<typeof DONE> = ENDED
  #resolve: ((done: typeof DONE) => void) | null = null
  #reject: ((error: unknown) => void) | null = null

  constructor(sink: Sink, asked: Asked, home: Home) {
    this.sink = sink
    this.#asked = asked
    this.#home = home
  }

  next(): Promise<typeof DONE> {
    if (this.#asked === null) return this.#done
    const asked = this.#asked
    this.#asked = null
    this.#done = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    this.#line = this.#home.begin(this, asked)
    return this.#done
  }

  return(): Promise<typeof DONE> {
    this.end()
    return ENDED
  }

  /** @param error masked */
  end(error?: unknown): void {
    if (this.ended) return
    this.ended = true
    this.#asked = null
    if (this.#line) this.#home.leave(this, this.#line)
    if (error === undefined) this.#resolve?.(DONE)
    else this.#reject?.(error)
  }

  /** The last thing there is to tell ends it, and so does a sink that is gone. */
  give(payloads: readonly Payload[]): void {
    if (payloads.length > 0 && (!this.sink.send(payloads) || payloads.at(-1)!.isLast)) this.end()
  }

  [Symbol.asyncIterator](): this {
    return this
  }
}
