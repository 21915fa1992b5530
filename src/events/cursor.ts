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
  seal(seq: number): string
  /** Of the log's head: another each time. */
  sealHead(seq: number): string
  /** Null if it is not a cursor of this log, told to this app. */
  open(cursor: string): number | null
}

const EPOCH = 6
const SEQ = 6
const NONCE = 4

/**
 * @param key 16 bytes
 * @param epoch at least 6 bytes
 */
export function createCursors(key: Buffer, epoch: Buffer): CursorsOf {
  const known = new Map<AppId, Cursors>()

  return appId => {
    const cursors =
      known.get(appId) ??
      cursorsWith(key, createHash('sha256').update(epoch).update(appId).digest().subarray(0, EPOCH))
    known.set(appId, cursors)
    return cursors
  }
}

function cursorsWith(key: Buffer, prefix: Buffer): Cursors {
  function seal(seq: number, nonce: Buffer): string {
    const block = Buffer.alloc(EPOCH + SEQ + NONCE)
    prefix.copy(block)
    block.writeUIntBE(seq, EPOCH, SEQ)
    nonce.copy(block, EPOCH + SEQ)
    const cipher = createCipheriv('aes-128-ecb', key, null).setAutoPadding(false)
    return Buffer.concat([cipher.update(block), cipher.final()]).toString('base64url')
  }

  return {
    seal: seq => seal(seq, Buffer.alloc(NONCE)),
    sealHead: seq => seal(seq, randomBytes(NONCE)),

    open(cursor) {
      const sealed = Buffer.from(cursor, 'base64url')
      if (sealed.length !== EPOCH + SEQ + NONCE || sealed.toString('base64url') !== cursor) return null
      const decipher = createDecipheriv('aes-128-ecb', key, null).setAutoPadding(false)
      const block = Buffer.concat([decipher.update(sealed), decipher.final()])
      return block.subarray(0, EPOCH).equals(prefix) ? block.readUIntBE(EPOCH, SEQ) : null
    },
  }
}
