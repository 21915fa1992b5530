/**
 * Random WebSocket traffic as bytes, and faults in the bytes that come back.
 */
import fc from 'fast-check'
import { byteEdits, ENDINGS, type RequestSources, splitAt } from './http-requests.ts'
import { errorFaults, isInvalidCloseCode, resultFaults, textFaults } from './response-check.ts'
import type { RawExchange } from './scenario.ts'

const UPGRADE = [
  'GET /graphql HTTP/1.1',
  'Host: 127.0.0.1',
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
  'Sec-WebSocket-Protocol: graphql-transport-ws',
]

const invalidLines = fc.constantFrom(
  'GET /graphql?x=y HTTP/1.1',
  'POST /graphql HTTP/1.1',
  'GET /webhooks/wavespeed HTTP/1.1',
  'GET //graphql HTTP/1.1',
  'Sec-WebSocket-Version: 8',
  'Sec-WebSocket-Key: short',
  'Sec-WebSocket-Protocol: graphql-ws',
  'Sec-WebSocket-Protocol: ,,',
  'Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits',
  'Sec-WebSocket-Extensions: ;;=',
  'Content-Length: 5',
  'Origin: null',
  '',
)

const handshakes = fc.oneof(
  { weight: 8, arbitrary: fc.constant(UPGRADE) },
  {
    weight: 2,
    arbitrary: fc
      .array(fc.tuple(fc.nat({ max: UPGRADE.length - 1 }), invalidLines), { minLength: 1, maxLength: 3 })
      .map(changes => {
        const lines = [...UPGRADE]
        for (const [at, line] of changes) lines[at] = line
        return lines.filter(line => line !== '')
      }),
  },
)

const messages = ({ operations, bearers }: RequestSources): fc.Arbitrary<string> => {
  const ids = fc.oneof(
    fc.constantFrom('1', '1', '2', '', '__proto__', '\ud800', 'x'.repeat(1001)),
    fc.jsonValue(),
  )
  const init = fc.oneof(
    {
      weight: 8,
      arbitrary: fc.constantFrom(...bearers).map(bearer => ({ authorization: `Bearer ${bearer}` })),
    },
    { weight: 1, arbitrary: fc.jsonValue() },
  )
  return fc.oneof(
    { weight: 4, arbitrary: init.map(payload => JSON.stringify({ type: 'connection_init', payload })) },
    {
      weight: 8,
      arbitrary: fc
        .tuple(ids, operations)
        .map(([id, payload]) => JSON.stringify({ type: 'subscribe', id, payload })),
    },
    { weight: 3, arbitrary: ids.map(id => JSON.stringify({ type: 'complete', id })) },
    {
      weight: 3,
      arbitrary: fc
        .tuple(fc.constantFrom('ping', 'pong'), fc.jsonValue())
        .map(([type, payload]) => JSON.stringify({ type, payload })),
    },
    {
      weight: 1,
      arbitrary: fc
        .tuple(
          fc.constantFrom('next', 'error', 'connection_ack', 'nonsense', '__proto__', ''),
          ids,
          fc.jsonValue(),
        )
        .map(([type, id, payload]) => JSON.stringify({ type, id, payload })),
    },
    {
      weight: 1,
      arbitrary: fc
        .tuple(
          ids,
          fc.record(
            { query: fc.jsonValue(), variables: fc.jsonValue(), operationName: fc.jsonValue() },
            { requiredKeys: [] },
          ),
        )
        .map(([id, payload]) => JSON.stringify({ type: 'subscribe', id, payload })),
    },
    {
      weight: 1,
      arbitrary: fc.oneof(fc.json(), fc.string({ maxLength: 20 }), fc.constant('['.repeat(20_000))),
    },
  )
}

interface Frame {
  opcode: number
  fin: boolean
  rsv: number
  masked: boolean
  /** Difference between the declared and the real length. */
  lengthError: number
  payload: Buffer
}

const validFrame = (payload: Buffer, opcode = 1): Frame => ({
  opcode,
  fin: true,
  rsv: 0,
  masked: true,
  lengthError: 0,
  payload,
})

const closePayload = (value: number, reason: string) => {
  const bytes = Buffer.alloc(2)
  bytes.writeUInt16BE(value)
  return Buffer.concat([bytes, Buffer.from(reason)])
}

const frames = (sources: RequestSources): fc.Arbitrary<Frame[]> => {
  const noise = fc.uint8Array({ maxLength: 130 }).map(bytes => Buffer.from(bytes))
  const payload = fc.oneof(
    messages(sources).map(text => Buffer.from(text)),
    noise,
  )
  return fc.oneof(
    { weight: 12, arbitrary: messages(sources).map(text => [validFrame(Buffer.from(text))]) },
    {
      weight: 3,
      // A message in two frames, with a ping between.
      arbitrary: fc.tuple(messages(sources), fc.nat({ max: 20 }), fc.boolean()).map(([text, at, pings]) => {
        const bytes = Buffer.from(text)
        const middle = pings ? [validFrame(Buffer.from('p'), 9)] : []
        return [
          { ...validFrame(bytes.subarray(0, at)), fin: false },
          ...middle,
          validFrame(bytes.subarray(at), 0),
        ]
      }),
    },
    {
      weight: 2,
      arbitrary: fc
        .tuple(fc.constantFrom(9, 10), noise)
        .map(([opcode, bytes]) => [validFrame(bytes, opcode)]),
    },
    {
      weight: 1,
      arbitrary: fc
        .tuple(fc.constantFrom(1000, 1001, 1005, 0, 999, 4400, 5000, 65_535), fc.string({ maxLength: 5 }))
        .map(([value, reason]) => [validFrame(closePayload(value, reason), 8)]),
    },
    {
      weight: 3,
      arbitrary: fc
        .record({
          opcode: fc.nat({ max: 15 }),
          fin: fc.boolean(),
          rsv: fc.constantFrom(0, 0, 0, 1, 4, 7),
          masked: fc.boolean(),
          lengthError: fc.constantFrom(0, 0, 0, 1, 70_000, 2 ** 21, 2 ** 53),
          payload,
        })
        .map(frame => [frame]),
    },
  )
}

function encodeFrame({ opcode, fin, rsv, masked, lengthError, payload }: Frame): Buffer {
  const length = payload.length + lengthError
  const first = (fin ? 128 : 0) | (rsv << 4) | opcode
  const mark = masked ? 128 : 0
  const extendedLengthBytes = length < 126 ? 0 : length < 65_536 ? 2 : 8
  const head = Buffer.alloc(2 + extendedLengthBytes)
  head[0] = first
  head[1] = mark | (extendedLengthBytes === 0 ? length : extendedLengthBytes === 2 ? 126 : 127)
  if (extendedLengthBytes === 2) head.writeUInt16BE(length, 2)
  if (extendedLengthBytes === 8) head.writeBigUInt64BE(BigInt(length), 2)
  if (!masked) return Buffer.concat([head, payload])
  const mask = Buffer.from([7, 77, 177, 27])
  return Buffer.concat([head, mask, payload.map((byte, i) => byte ^ mask[i % 4]!)])
}

/** A handshake and its traffic, in chunks; mostly with connection_init first. */
export const websocketExchanges = (sources: RequestSources): fc.Arbitrary<RawExchange> =>
  fc
    .record({
      upgrade: handshakes,
      isAuthenticated: fc.constantFrom(true, true, true, false),
      drawnFrames: fc.array(frames(sources), { maxLength: 8 }),
      damage: byteEdits,
      cuts: fc.array(fc.nat(), { maxLength: 5 }),
      ending: fc.constantFrom(...ENDINGS),
      sendsClose: fc.boolean(),
    })
    .map(({ upgrade, isAuthenticated, drawnFrames, damage, cuts, ending, sendsClose }) => {
      const init = { type: 'connection_init', payload: { authorization: `Bearer ${sources.bearers[0]}` } }
      const all = [
        ...(isAuthenticated ? [validFrame(Buffer.from(JSON.stringify(init)))] : []),
        ...drawnFrames.flat(),
        ...(sendsClose ? [validFrame(closePayload(1000, ''), 8)] : []),
      ]
      const body = Buffer.concat(all.map(encodeFrame))
      for (const [at, , inserted] of damage)
        if (body.length > 0) body.write(inserted, at % body.length, 'latin1')
      return { chunks: [Buffer.from(`${upgrade.join('\r\n')}\r\n\r\n`), ...splitAt(body, cuts)], ending }
    })

const UPGRADE_RESPONSE = /^HTTP\/1\.1 101 [^\r\n]*\r\n(?:[\w-]+:[^\r\n]*\r\n)*\r\n/
const MESSAGE_TYPES = new Set(['connection_ack', 'next', 'error', 'complete', 'ping', 'pong'])
const OPCODES = new Set([1, 8, 9, 10])

/** Null: not upgraded, judge as HTTP. */
export function websocketFaults(bytes: Buffer): string[] | null {
  const head = UPGRADE_RESPONSE.exec(bytes.toString('latin1'))
  if (head === null) return null
  let at = head[0].length
  const faults: string[] = []
  while (at + 2 <= bytes.length) {
    const [first, second] = [bytes[at]!, bytes[at + 1]!]
    const opcode = first & 15
    if ((first & 240) !== 128 || !OPCODES.has(opcode) || second > 127)
      return [...faults, `invalid server frame: ${first} ${second}`]
    const extendedLengthBytes = second === 126 ? 2 : second === 127 ? 8 : 0
    // The connection was cut.
    if (at + 2 + extendedLengthBytes > bytes.length) return faults
    const length =
      extendedLengthBytes === 0
        ? second
        : extendedLengthBytes === 2
          ? bytes.readUInt16BE(at + 2)
          : Number(bytes.readBigUInt64BE(at + 2))
    const payload = bytes.subarray(at + 2 + extendedLengthBytes, at + 2 + extendedLengthBytes + length)
    if (payload.length < length) return faults
    at += 2 + extendedLengthBytes + length
    if (opcode === 1) faults.push(...messageFaults(payload))
    if (opcode === 8) {
      if (payload.length >= 2 && isInvalidCloseCode(payload.readUInt16BE(0)))
        faults.push(`closed with ${payload.readUInt16BE(0)}`)
      faults.push(...textFaults(payload.subarray(2).toString()))
    }
  }
  return faults
}

function messageFaults(payload: Buffer): string[] {
  const text = payload.toString()
  let message: { type?: string; payload?: unknown }
  try {
    message = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(payload))
  } catch {
    return [`not JSON: ${text.slice(0, 300)}`]
  }
  const faults = textFaults(text)
  if (!MESSAGE_TYPES.has(message.type ?? '')) faults.push(`unknown message: ${text.slice(0, 300)}`)
  if (message.type === 'next') faults.push(...resultFaults(JSON.stringify(message.payload)))
  if (message.type === 'error') faults.push(...errorFaults(message.payload))
  return faults
}
