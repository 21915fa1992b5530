/**
 * Socket writer with backpressure. Callers check `isFull` and wait outside, so a client that does not read
 * costs at most MAX_BUFFERED_BYTES, and no queue.
 * Invariant: `whenDrained` resolves once there is room, or once the socket is closed.
 * A class, like everything that there is for each connection: methods of its own would cost it 56 bytes each.
 */
import type { Writable } from 'node:stream'

const MAX_BUFFERED_BYTES = 256 * 1024

export class BackpressuredWriter {
  readonly #stream: Writable
  #draining: Promise<void> | null = null

  constructor(stream: Writable) {
    this.#stream = stream
  }

  isFull(): boolean {
    return this.#stream.writableLength > MAX_BUFFERED_BYTES && !this.#stream.destroyed
  }

  whenDrained(): Promise<void> {
    if (!this.isFull()) return RESOLVED
    this.#draining ??= this.#drain()
    return this.#draining
  }

  /** Writes all pieces, in one system call if possible. */
  write(pieces: readonly Buffer[]): void {
    const stream = this.#stream
    if (pieces.length > 1) stream.cork()
    for (const piece of pieces) stream.write(piece)
    if (pieces.length > 1) stream.uncork()
  }

  #drain(): Promise<void> {
    const stream = this.#stream
    return new Promise(resolve => {
      const onDrained = () => {
        stream.off('drain', onDrained).off('close', onDrained)
        this.#draining = null
        resolve()
      }
      stream.on('drain', onDrained).on('close', onDrained)
    })
  }
}

const RESOLVED = Promise.resolve()
