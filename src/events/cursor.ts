/**
 * A place in the event log ↔ an opaque string: the log's epoch and a `seq`, one AES block, sealed under the
 * database's own key. Sealed, because differences between bare numbers would tell one app the traffic of the others.
 * Invariant: what does not open to this log's epoch is no cursor; 64 bits of epoch make a forgery hopeless.
 */
import { createCipheriv, createDecipheriv } from 'node:crypto'

export interface Cursors {
  seal(seq: number): string
  /** Null if it is not a cursor of this log. */
  open(cursor: string): number | null
}

/**
 * @param key 16 bytes
 * @param epoch 8 bytes
 */
export function createCursors(key: Buffer, epoch: Buffer): Cursors {
  return {
    seal(seq) {
      const block = Buffer.alloc(16)
      epoch.copy(block)
      block.writeBigUInt64BE(BigInt(seq), 8)
      const cipher = createCipheriv('aes-128-ecb', key, null).setAutoPadding(false)
      return Buffer.concat([cipher.update(block), cipher.final()]).toString('base64url')
    },

    open(cursor) {
      const sealed = Buffer.from(cursor, 'base64url')
      if (sealed.length !== 16 || sealed.toString('base64url') !== cursor) return null
      const decipher = createDecipheriv('aes-128-ecb', key, null).setAutoPadding(false)
      const block = Buffer.concat([decipher.update(sealed), decipher.final()])
      if (!block.subarray(0, 8).equals(epoch)) return null
      const seq = Number(block.readBigUInt64BE(8))
      return Number.isSafeInteger(seq) ? seq : null
    },
  }
}
