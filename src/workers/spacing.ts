/**
 * Writes one after another, each in a turn of the event loop of its own: a commit stands still for its fsync, and the
 * answers of a hundred looks come in one turn.
 * Invariant: each is begun in the order it was asked for; one that throws, throws for its caller alone.
 */
import { setImmediate } from 'node:timers/promises'

export type Spaced = <Result>(write: () => Promise<Result>) => Promise<Result>

export function createSpacing(): Spaced {
  let last: Promise<unknown> = Promise.resolve()
  return write => {
    const written = last.then(() => setImmediate()).then(write)
    last = written.catch(() => {})
    return written
  }
}
