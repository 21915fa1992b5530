import { createHmac } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type SignedWebhook, verifyWebhookSignature } from '../../src/upstream/webhook-signature.ts'

/** The contract's own vector. */
const VECTOR: SignedWebhook = {
  id: '0123456789abcdef0123456789abcdef',
  timestamp: '1760000000',
  signature: 'v3,1e320f269b5207f6fc35dd1260e888573b94622f0f6d82fc7b649ddffd45bbf6',
  body: Buffer.from(
    '{"id":"0123456789abcdef0123456789abcdef","model":"alibaba/wan-2.2/i2v-plus-1080p","outputs":["https://example.test/o.mp4"],"status":"completed","error":""}',
  ),
  secrets: ['whsec_dGVzdC1zZWNyZXQtbm90LXJlYWw='],
  now: 1_760_000_000_000,
}
const [SECRET] = VECTOR.secrets as [string]
const signedBy = (key: string | Buffer, id: string, timestamp: string, body: string | Buffer) =>
  `v3,${createHmac('sha256', key).update(`${id}.${timestamp}.`).update(body).digest('hex')}`
/** The vector with `fields` replaced, signed again. */
const signed = (fields: { id?: string; timestamp?: string; body?: Buffer; key?: string | Buffer }) => {
  const { key = SECRET.slice(6), ...rest } = fields
  const message = { ...VECTOR, ...rest }
  const { id, timestamp, body } = message as { id: string; timestamp: string; body: Buffer }
  return { ...message, signature: signedBy(key, id, timestamp, body) }
}

test('the contract’s vector is valid', () => {
  expect(verifyWebhookSignature(VECTOR)).toBe(true)
})

test('a body is signed byte by byte, whatever it contains', () => {
  expect(verifyWebhookSignature(signed({ body: Buffer.from([0xff, 0xfe, 0, 0x80]) }))).toBe(true)
  expect(verifyWebhookSignature(signed({ body: Buffer.alloc(0) }))).toBe(true)
})

describe('a webhook is invalid', () => {
  test.each<[title: string, fields: Partial<SignedWebhook>]>([
    ['of another body', { body: Buffer.from(`${VECTOR.body} `) }],
    ['of no body', { body: Buffer.alloc(0) }],
    ['of another id', { id: 'f123456789abcdef0123456789abcdef' }],
    ['of another moment', { timestamp: '1760000001' }],
    ['with another secret', { secrets: ['whsec_b3RoZXI='] }],
    ['without a secret', { secrets: [] }],
    ['without an id', { id: undefined }],
    ['without a timestamp', { timestamp: undefined }],
    ['without a signature', { signature: undefined }],
    ['with two ids', { id: [String(VECTOR.id), String(VECTOR.id)] }],
    ['with a list for an id', { id: [String(VECTOR.id)] }],
    ['with a list for a timestamp', { timestamp: [String(VECTOR.timestamp)] }],
    ['with a list for a signature', { signature: [String(VECTOR.signature)] }],
  ])('%s', (_, fields) => {
    expect(verifyWebhookSignature({ ...VECTOR, ...fields })).toBe(false)
  })

  const hex = String(VECTOR.signature).slice(3)
  test.each([
    '',
    hex,
    `v1,${hex}`,
    `v3=${hex}`,
    `v3, ${hex}`,
    ` v3,${hex}`,
    `v3,${hex}\n`,
    `v3,${hex} `,
    `V3,${hex}`,
    `v3,${hex.slice(1)}`,
    `v3,${hex.slice(2)}`,
    `v3,${hex}0`,
    `v3,${hex}00`,
    `v3,${hex.slice(0, -1)}g`,
    'v3,',
    `v3,${hex},v3,${hex}`,
    `v3,${hex} v3,${hex}`,
    `v3,${Buffer.from(hex, 'hex').toString('base64')}`,
    `v3,${'0'.repeat(64)}`,
  ])('with %j for a signature', signature => {
    expect(verifyWebhookSignature({ ...VECTOR, signature })).toBe(false)
  })

  test('with any digit of the signature changed', () => {
    for (let i = 0; i < hex.length; i++) {
      const other = hex[i] === '0' ? '1' : '0'
      const signature = `v3,${hex.slice(0, i)}${other}${hex.slice(i + 1)}`
      expect(verifyWebhookSignature({ ...VECTOR, signature })).toBe(false)
    }
  })

  test.each(['', ' 1760000000', '1760000000.0', '1.76e9', '+1760000000', '0x68e77800', 'now', '-1'])(
    'with %j for a timestamp, though that is what was signed',
    timestamp => {
      expect(verifyWebhookSignature({ ...signed({ timestamp }), now: (Number(timestamp) || 0) * 1000 })).toBe(
        false,
      )
    },
  )

  test.each(['', 'a b', 'ä', 'a\n', 'x'.repeat(201)])('with %j for an id, though it was signed', id => {
    expect(verifyWebhookSignature(signed({ id }))).toBe(false)
  })

  test('if another message was split out of the same signed text', () => {
    const whole = signed({ body: Buffer.from('{"a":"b.1760000001.c"}') })
    expect(verifyWebhookSignature(whole)).toBe(true)
    const id = '0123456789abcdef0123456789abcdef.1760000000.{"a":"b'
    expect(verifyWebhookSignature({ ...whole, id, timestamp: '1760000001', body: Buffer.from('c"}') })).toBe(
      false,
    )
    const short = signed({ id: 'a', body: Buffer.from('1760000001.b') })
    expect(verifyWebhookSignature(short)).toBe(true)
    expect(
      verifyWebhookSignature({
        ...short,
        id: 'a.1760000000',
        timestamp: '1760000001',
        body: Buffer.from('b'),
      }),
    ).toBe(false)
  })
})

test('a timestamp is valid for 300 seconds, before and after', () => {
  const at = (ms: number) => verifyWebhookSignature({ ...VECTOR, now: VECTOR.now + ms })
  expect([-300_000, -299_999, 0, 299_999, 300_000].map(at)).toEqual(Array(5).fill(true))
  expect([-300_001, 300_001, 86_400_000, -86_400_000].map(at)).toEqual(Array(4).fill(false))
})

describe('a secret', () => {
  test('may be any of several', () => {
    const secrets = ['whsec_bmV3', SECRET]
    expect(verifyWebhookSignature({ ...VECTOR, secrets })).toBe(true)
    expect(verifyWebhookSignature({ ...VECTOR, secrets: secrets.toReversed() })).toBe(true)
  })

  test('is the same without its prefix', () => {
    expect(verifyWebhookSignature({ ...VECTOR, secrets: [SECRET.slice(6)] })).toBe(true)
  })

  test('is used as it stands: without its prefix and not decoded', () => {
    expect(verifyWebhookSignature(signed({ key: SECRET }))).toBe(false)
    expect(verifyWebhookSignature(signed({ key: Buffer.from(SECRET.slice(6), 'base64') }))).toBe(false)
  })

  test('that is empty signs nothing', () => {
    for (const empty of ['', 'whsec_']) {
      expect(verifyWebhookSignature({ ...signed({ key: '' }), secrets: [empty] })).toBe(false)
      expect(verifyWebhookSignature({ ...VECTOR, secrets: [empty, SECRET] })).toBe(true)
    }
  })
})

test('any headers give true or false, never a throw', () => {
  const header = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.stringMatching(/^v3,[\da-f]{64}$/),
    fc.constantFrom(undefined, VECTOR.id, VECTOR.timestamp),
    fc.array(fc.string()),
  )
  const bytes = fc.uint8Array().map(body => Buffer.from(body))
  fc.assert(
    fc.property(header, header, header, bytes, (id, timestamp, signature, body) => {
      expect(verifyWebhookSignature({ ...VECTOR, id, timestamp, signature, body })).toBe(false)
    }),
  )
})
