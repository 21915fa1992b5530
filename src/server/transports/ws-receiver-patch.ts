/**
 * Patch of ws's Receiver. After a frame that violates the protocol, ws 8.23 continues with the chunks that
 * are queued behind it. Their mask is gone, so it throws where nothing catches: two chunks from any client
 * could end the process.
 * Invariant: nothing is read after an error.
 */
import type { Writable } from 'node:stream'
import * as ws from 'ws'

interface WsReceiver extends Writable {
  /** Set by Node after an error. */
  _errored: boolean
  /** Set by this patch. */
  stopsAfterError?: true
}

/** Patches all present and future receivers. A second call has no effect. */
export function patchWsReceiver(): void {
  const { prototype } = (ws as unknown as { Receiver: { prototype: WsReceiver } }).Receiver
  if (prototype.stopsAfterError) return
  const { _write: originalWrite } = prototype
  prototype.stopsAfterError = true
  prototype._write = function (packet, encoding, done) {
    if (this._errored) done()
    else originalWrite.call(this, packet, encoding, done)
  }
}
