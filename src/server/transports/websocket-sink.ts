/**
 * Writes one subscription's payloads to its WebSocket: each is a text frame of the subscription's own envelope and the
 * shared JSON. Frames of a server are not masked, and these are never compressed (RFC 6455, 5.2).
 */
import { WebSocket } from 'ws'
import type { Payload } from '../../subscriptions/shared-operation.ts'
import type { OperationSink } from '../../subscriptions/subscription-group.ts'
import type { BackpressuredWriter } from './backpressure.ts'
import type { WebSocketConnection } from './websocket-connection.ts'

export class WebSocketSink implements OperationSink {
  readonly writer: BackpressuredWriter
  readonly #client: WebSocket
  /** ASCII, because encodeFrames takes its length for its bytes. */
  readonly #envelope: string

  constructor({ client, writer }: Pick<WebSocketConnection, 'client' | 'writer'>, id: string) {
    this.#client = client
    this.writer = writer
    this.#envelope = `{"id":${asciiJson(id)},"type":"next","payload":`
  }

  /** The id is here, and in graphql-ws. */
  get heldBytes(): number {
    return 2 * this.#envelope.length
  }

  send(payloads: readonly Payload[]): boolean {
    if (this.#client.readyState !== WebSocket.OPEN) return false
    this.writer.write(encodeFrames(this.#envelope, payloads))
    return true
  }
}

const asciiJson = (text: string): string =>
  JSON.stringify(text).replace(
    /[^\x20-\x7e]/g,
    char => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )

const FIN_TEXT = 0x81
const MAX_7_BIT_LENGTH = 125
const MAX_16_BIT_LENGTH = 0xffff

/** Larger payloads are not copied: thousands of connections may wait with the same buffer. */
const MAX_COPIED_BYTES = 16 * 1024

/**
 * Makes a frame for each payload, in pieces that belong into one write. A large payload is a piece of its
 * own.
 * @param envelope ASCII. A string takes a fifth of a buffer's memory.
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
