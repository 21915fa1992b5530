/**
 * WebSocket text frames put together from an envelope that is a subscriber's own and tails that are everybody's.
 * A server's frames are not masked, and these are never compressed (RFC 6455, 5.2).
 */
const FIN_TEXT = 0x81
const SHORT = 125
const MEDIUM = 0xffff

/** A tail that is longer is not copied: thousands may have the one buffer waiting. */
const LARGE = 16 * 1024

/**
 * One frame for each tail, as pieces for one write; but for large tails it is one piece.
 * @param envelope ASCII. As a string it takes a fifth of a buffer's memory.
 */
export function framesOf(envelope: string, payloads: readonly { tail: Buffer }[]): Buffer[] {
  const before = envelope.length
  const isCopied = ({ tail }: { tail: Buffer }) => tail.length <= LARGE
  let size = 0
  for (const payload of payloads) {
    const { length } = payload.tail
    size += headSize(before + length) + before + (isCopied(payload) ? length : 0)
  }
  const bytes = Buffer.allocUnsafe(size)
  const pieces: Buffer[] = []
  let begun = 0
  let at = 0
  for (const payload of payloads) {
    const { tail } = payload
    at = writeHead(bytes, at, before + tail.length)
    at += bytes.write(envelope, at, 'latin1')
    if (isCopied(payload)) at += tail.copy(bytes, at)
    else {
      pieces.push(bytes.subarray(begun, at), tail)
      begun = at
    }
  }
  if (begun < at) pieces.push(bytes.subarray(begun, at))
  return pieces
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
