/**
 * WebSocket text frames put together from an envelope that is a subscriber's own and tails that are everybody's.
 * A server's frames are not masked, and these are never compressed (RFC 6455, 5.2).
 */
const FIN_TEXT = 0x81
const MAX_7_BIT_LENGTH = 125
const MAX_16_BIT_LENGTH = 0xffff

/** A tail that is longer is not copied: thousands may have the one buffer waiting. */
const MAX_COPIED_BYTES = 16 * 1024

/**
 * One frame for each tail, as pieces for one write; but for large tails it is one piece.
 * @param envelope ASCII. As a string it takes a fifth of a buffer's memory.
 */
export function encodeFrames(envelope: string, payloads: readonly { json: Buffer }[]): Buffer[] {
  const envelopeBytes = envelope.length
  const isCopied = ({ json }: { json: Buffer }) => json.length <= MAX_COPIED_BYTES
  let size = 0
  for (const payload of payloads) {
    const { length } = payload.json
    size += headerBytes(envelopeBytes + length) + envelopeBytes + (isCopied(payload) ? length : 0)
  }
  const bytes = Buffer.allocUnsafe(size)
  const pieces: Buffer[] = []
  let pieceStart = 0
  let offset = 0
  for (const payload of payloads) {
    const { json } = payload
    offset = writeFrameHeader(bytes, offset, envelopeBytes + json.length)
    offset += bytes.write(envelope, offset, 'latin1')
    if (isCopied(payload)) offset += json.copy(bytes, offset)
    else {
      pieces.push(bytes.subarray(pieceStart, offset), json)
      pieceStart = offset
    }
  }
  if (pieceStart < offset) pieces.push(bytes.subarray(pieceStart, offset))
  return pieces
}

const headerBytes = (length: number): number =>
  length <= MAX_7_BIT_LENGTH ? 2 : length <= MAX_16_BIT_LENGTH ? 4 : 10

function writeFrameHeader(bytes: Buffer, offset: number, length: number): number {
  bytes[offset] = FIN_TEXT
  if (length <= MAX_7_BIT_LENGTH) {
    bytes[offset + 1] = length
    return offset + 2
  }
  if (length <= MAX_16_BIT_LENGTH) {
    bytes[offset + 1] = 126
    return bytes.writeUInt16BE(length, offset + 2)
  }
  bytes[offset + 1] = 127
  bytes.writeUInt16BE(0, offset + 2)
  return bytes.writeUIntBE(length, offset + 4, 6)
}
