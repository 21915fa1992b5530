/**
 * Patch of ws's Receiver. After a frame that violates the protocol, ws 8.23 continues with the chunks that
 * are queued behind it. Their mask is gone, so it throws where nothing catches: two chunks from any client
 * could end the process.
 * Invariant: nothing is read after an error.
 */
import type { Writable } from 'node:stream'
import * as ws from 'ws'

interface WsReceiver extends Writable {
  /** Called for each violation of the protocol, and for nothing else. */
  createError(...args: unknown[]): Error
}

interface PatchedReceiver extends WsReceiver {
  stopsAfterError?: true
}

/** Patches all present and future receivers. A second call has no effect. */
export function patchWsReceiver(): void {
  const { prototype } = (ws as unknown as { Receiver: { prototype: PatchedReceiver } }).Receiver
  if (prototype.stopsAfterError) return
  const { createError } = prototype
  prototype.stopsAfterError = true
  prototype.createError = function (...args) {
    this._write = (_chunk, _encoding, done) => done()
    return createError.apply(this, args)
  }
}
