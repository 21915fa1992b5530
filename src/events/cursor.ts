/**
 * Encodes a position in the event log as an opaque cursor: the log's epoch for the app, a `seq`, the event's mark and a
 * nonce in one AES block, encrypted with the database's key. Encrypted, because differences between plain numbers would
 * reveal the traffic of other apps. The nonce hides whether the head moved.
 * A position without a mark has the form of all cursors before migration 0010, so those are still valid:
 *   epoch (6 bytes), seq (6), nonce (4)
 * A position with a mark:
 *   other bytes of the app's digest (3), mark XOR four more of them (4), seq (5), nonce (4)
 * Invariant: a cursor that does not decrypt to the epoch of this log and app is invalid. A forged cursor would
 * have to match the 48 bits of the epoch. A forged cursor with a mark would have to match the 24 bits of the digest and the
 * 32 bits of the mark; the event log compares the mark, this file does not.
 */
import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto'
import type { AppId, LogPosition } from '../domain/prediction.ts'

export type CursorsOf = (appId: AppId) => Cursors

interface Cursors {
  /** Cursor of an event: the same each time. */
  encode(position: LogPosition): string
  /** Cursor of the log's head: different each time. */
  encodeHead(position: LogPosition): string
  /** Null if it is not a cursor of this log, issued to this app. The mark is as it was encoded: see `LogPosition`. */
  decode(cursor: string): LogPosition | null
}

const BLOCK_BYTES = 16
/** A cursor is the block in base64url, without padding. */
const CURSOR_CHARACTERS = Math.ceil((BLOCK_BYTES * 4) / 3)
const NONCE_OFFSET = 12
const NONCE_BYTES = BLOCK_BYTES - NONCE_OFFSET
const EVENT_NONCE = Buffer.alloc(NONCE_BYTES)
/** The layout of a position without a mark. */
const EPOCH_BYTES = 6
const SEQ_BYTES = NONCE_OFFSET - EPOCH_BYTES
/** The layout of a position with a mark. */
const TAG_BYTES = 3
const MARK_BYTES = 4
const MARKED_SEQ_OFFSET = TAG_BYTES + MARK_BYTES
const MARKED_SEQ_BYTES = NONCE_OFFSET - MARKED_SEQ_OFFSET

/**
 * @param key 16 bytes
 * @param epoch at least 6 bytes
 */
export function createCursors(key: Buffer, epoch: Buffer): CursorsOf {
  const cached = new Map<AppId, Cursors>()

  return appId => {
    const cursors =
      cached.get(appId) ?? createAppCursors(key, createHash('sha256').update(epoch).update(appId).digest())
    cached.set(appId, cursors)
    return cursors
  }
}

/** @param digest of the epoch and the app, 32 bytes */
function createAppCursors(key: Buffer, digest: Buffer): Cursors {
  const appEpoch = digest.subarray(0, EPOCH_BYTES)
  const tag = digest.subarray(EPOCH_BYTES, EPOCH_BYTES + TAG_BYTES)
  /** Without it the cursor of another app whose tag is the same by chance would be valid. */
  const markMask = digest.readUInt32BE(EPOCH_BYTES + TAG_BYTES)

  function encrypt({ seq, mark }: LogPosition, nonce: Buffer): string {
    const block = Buffer.alloc(BLOCK_BYTES)
    if (mark === null) {
      appEpoch.copy(block)
      block.writeUIntBE(seq, EPOCH_BYTES, SEQ_BYTES)
    } else {
      tag.copy(block)
      block.writeUInt32BE((mark ^ markMask) >>> 0, TAG_BYTES)
      block.writeUIntBE(seq, MARKED_SEQ_OFFSET, MARKED_SEQ_BYTES)
    }
    nonce.copy(block, NONCE_OFFSET)
    const cipher = createCipheriv('aes-128-ecb', key, null).setAutoPadding(false)
    return Buffer.concat([cipher.update(block), cipher.final()]).toString('base64url')
  }

  return {
    encode: position => encrypt(position, EVENT_NONCE),
    encodeHead: position => encrypt(position, randomBytes(NONCE_BYTES)),

    decode(cursor) {
      if (cursor.length !== CURSOR_CHARACTERS) return null
      const encrypted = Buffer.from(cursor, 'base64url')
      if (encrypted.length !== BLOCK_BYTES || encrypted.toString('base64url') !== cursor) return null
      const decipher = createDecipheriv('aes-128-ecb', key, null).setAutoPadding(false)
      const block = Buffer.concat([decipher.update(encrypted), decipher.final()])
      if (block.subarray(0, EPOCH_BYTES).equals(appEpoch))
        return { seq: block.readUIntBE(EPOCH_BYTES, SEQ_BYTES), mark: null }
      if (!block.subarray(0, TAG_BYTES).equals(tag)) return null
      const mark = (block.readUInt32BE(TAG_BYTES) ^ markMask) >>> 0
      return mark === 0 ? null : { seq: block.readUIntBE(MARKED_SEQ_OFFSET, MARKED_SEQ_BYTES), mark }
    },
  }
}
