/**
 * Encodes a position in the event log as an opaque cursor: the log's epoch for the app, a `seq` and a nonce in one
 * AES block, encrypted with the database's key. Encrypted, because differences between plain numbers would reveal the
 * traffic of other apps. The nonce hides whether the head moved.
 * Invariant: a cursor that does not decrypt to the epoch of this log and app is invalid. 48 bits of epoch make
 * forgery hopeless.
 */
import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto'
import type { AppId } from '../domain/prediction.ts'

export type CursorsOf = (appId: AppId) => Cursors

interface Cursors {
  /** Cursor of an event: the same each time. */
  encode(seq: number): string
  /** Cursor of the log's head: different each time. */
  encodeHead(seq: number): string
  /** Null if it is not a cursor of this log, issued to this app. */
  decode(cursor: string): number | null
}

const EPOCH_BYTES = 6
const SEQ_BYTES = 6
const NONCE_BYTES = 4
const CURSOR_BYTES = EPOCH_BYTES + SEQ_BYTES + NONCE_BYTES
/** In base64url, without padding. */
const CURSOR_CHARACTERS = Math.ceil((CURSOR_BYTES * 4) / 3)
const EVENT_NONCE = Buffer.alloc(NONCE_BYTES)

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
    const block = Buffer.alloc(CURSOR_BYTES)
    appEpoch.copy(block)
    block.writeUIntBE(seq, EPOCH_BYTES, SEQ_BYTES)
    nonce.copy(block, EPOCH_BYTES + SEQ_BYTES)
    const cipher = createCipheriv('aes-128-ecb', key, null).setAutoPadding(false)
    return Buffer.concat([cipher.update(block), cipher.final()]).toString('base64url')
  }

  return {
    encode: seq => encrypt(seq, EVENT_NONCE),
    encodeHead: seq => encrypt(seq, randomBytes(NONCE_BYTES)),

    decode(cursor) {
      if (cursor.length !== CURSOR_CHARACTERS) return null
      const encrypted = Buffer.from(cursor, 'base64url')
      if (encrypted.length !== CURSOR_BYTES || encrypted.toString('base64url') !== cursor) return null
      const decipher = createDecipheriv('aes-128-ecb', key, null).setAutoPadding(false)
      const block = Buffer.concat([decipher.update(encrypted), decipher.final()])
      return block.subarray(0, EPOCH_BYTES).equals(appEpoch) ? block.readUIntBE(EPOCH_BYTES, SEQ_BYTES) : null
    },
  }
}
