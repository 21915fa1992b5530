/**
 * Verifies a webhook's signature: an HMAC over its id, its timestamp and its raw body.
 * Malformed input is false, never a throw.
 */
import { createHmac, timingSafeEqual } from 'node:crypto'

/** A header's value as `request.headers` has it. */
type Header = string | string[] | undefined

export interface SignedWebhook {
  /** `webhook-id` */
  id: Header
  /** `webhook-timestamp`, seconds since 1970. */
  timestamp: Header
  /** `webhook-signature` */
  signature: Header
  /** The raw body as received, not serialised again. */
  body: Buffer
  /** Any of these secrets may have signed: for rotation. */
  secrets: readonly string[]
  /** ms since 1970 */
  now: number
}

const MAX_AGE_MS = 300 * 1000

/** No dot: with one, the same signed text could be split into another id, timestamp and body. */
const ID = /^[\w:~-]{1,200}$/
const TIMESTAMP = /^\d{1,12}$/
const SIGNATURE = /^v3,([\da-fA-F]{64})$/

export function verifyWebhookSignature({
  id,
  timestamp,
  signature,
  body,
  secrets,
  now,
}: SignedWebhook): boolean {
  if (typeof id !== 'string' || typeof timestamp !== 'string' || typeof signature !== 'string') return false
  const signatureHex = SIGNATURE.exec(signature)?.[1]
  if (signatureHex === undefined || !ID.test(id) || !TIMESTAMP.test(timestamp)) return false
  if (Math.abs(now - Number(timestamp) * 1000) > MAX_AGE_MS) return false

  const received = Buffer.from(signatureHex, 'hex')
  return signingKeys(secrets).some(key => {
    const expected = createHmac('sha256', key).update(`${id}.${timestamp}.`).update(body).digest()
    return received.length === expected.length && timingSafeEqual(received, expected)
  })
}

/** The secrets without their prefix, not base64-decoded although they look so. An empty secret is ignored. */
const signingKeys = (secrets: readonly string[]) =>
  secrets.map(secret => secret.replace(/^whsec_/, '')).filter(key => key !== '')
