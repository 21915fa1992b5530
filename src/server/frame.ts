/**
 * WebSocket text frames put together from an envelope that is a subscriber's own and tails that are everybody's.
 * A server's frames are not masked, and these are never compressed (RFC 6455, 5.2).
 */
const FIN_TEXT = 0x81
const SHORT = 125
const MEDIUM = 0xffff

/**
 * One frame for each tail, in one buffer for one write.
 * @param envelope ASCII. As a string it takes a fifth of a buffer's memory.
 */
export function framesOf(envelope: string, payloads: readonly { tail: Buffer }[]): Buffer {
  const before = envelope.length
  let size = 0
  for (const { tail } of payloads) size += headSize(before + tail.length) + before + tail.length
  const bytes = Buffer.allocUnsafe(size)
  let at = 0
  for (const { tail } of payloads) {
    at = writeHead(bytes, at, before + tail.length)
    at += bytes.write(envelope, at, 'latin1')
    at += tail.copy(bytes, at)
  }
  return bytes
}

const headSize = (length: number): number => (length <= SHORT ? 2 : length <= MEDIUM ? 4 : 10)

function writeHead(bytes: Buffer, at: number, length: number): number {
  bytes[at] = FIN_TEXT
  if (length <= SHORT) {
    bytes[at + 1] = length
    return at + 2
  }
  if (length <= MEDIUM) {
    bytes[at + 1] = 126
    return bytes.writeUInt16BE(length, at + 2)
  }
  bytes[at + 1] = 127
  bytes.writeUInt16BE(0, at + 2)
  return bytes.writeUIntBE(length, at + 4, 6)
}
