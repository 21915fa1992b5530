/**
 * What ws reads with. After a frame that breaks the protocol ws 8.23 goes on with the packets that wait behind it, finds that
 * it has let go of the mask, and throws where nobody catches: two packets of anybody's would end the process.
 * Invariant: nothing is read behind a fault.
 */
import type { Writable } from 'node:stream'
import * as ws from 'ws'

interface WsReceiver extends Writable {
  /** It has met a fault. */
  _errored: boolean
  /** Set here. */
  stopsAfterError?: true
}

/** Of every receiver there is and will be; a second time changes nothing. */
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
