/**
 * A place in the event log, as an app is told it ↔ an opaque string: the log's epoch for that app, a `seq` and a nonce, one
 * AES block, sealed under the database's own key. Sealed, because differences between bare numbers would tell one app the
 * traffic of the others; with a nonce where the place is the log's head, for that such a cursor changed would tell it too.
 * Invariant: what does not open to the epoch of this log and app is no cursor, so that one of another app's is none; 48
 * bits of epoch make a forgery hopeless.
 */
import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto'
import type { AppId } from '../domain/prediction.ts'

export type CursorsOf = (appId: AppId) => Cursors

export interface Cursors {
  /** Of an event: the same each time. */
  encode(seq: number): string
  /** Of the log's head: another each time. */
  encodeHead(seq: number): string
  /** Null if it is not a cursor of this log, told to this app. */
  decode(cursor: string): number | null
}

const EPOCH_BYTES = 6
const SEQ_BYTES = 6
const NONCE_BYTES = 4

/**
 * @param key 16 bytes
 * @param epoch at least 6 bytes
 */
export function createCursors(key: Buffer, epoch: Buffer): CursorsOf {
  const cached = new Map<AppId, Cursors>()

  return appId => {
    const cursors =
      cached.get(appId) ??
      createAppCursors(
        key,
        createHash('sha256').update(epoch).update(appId).digest().subarray(0, EPOCH_BYTES),
      )
    cached.set(appId, cursors)
    return cursors
  }
}

function createAppCursors(key: Buffer, appEpoch: Buffer): Cursors {
  function encrypt(seq: number, nonce: Buffer): string {
    const block = Buffer.alloc(EPOCH_BYTES + SEQ_BYTES + NONCE_BYTES)
    appEpoch.copy(block)
    block.writeUIntBE(seq, EPOCH_BYTES, SEQ_BYTES)
    nonce.copy(block, EPOCH_BYTES + SEQ_BYTES)
    const cipher = createCipheriv('aes-128-ecb', key, null).setAutoPadding(false)
    return Buffer.concat([cipher.update(block), cipher.final()]).toString('base64url')
  }

  return {
    encode: seq => encrypt(seq, Buffer.alloc(NONCE_BYTES)),
    encodeHead: seq => encrypt(seq, randomBytes(NONCE_BYTES)),

    decode(cursor) {
      const encrypted = Buffer.from(cursor, 'base64url')
      if (
        encrypted.length !== EPOCH_BYTES + SEQ_BYTES + NONCE_BYTES ||
        encrypted.toString('base64url') !== cursor
      )
        return null
      const decipher = createDecipheriv('aes-128-ecb', key, null).setAutoPadding(false)
      const block = Buffer.concat([decipher.update(encrypted), decipher.final()])
      return block.subarray(0, EPOCH_BYTES).equals(appEpoch) ? block.readUIntBE(EPOCH_BYTES, SEQ_BYTES) : null
    },
  }
}
