/**
 * Verifies a webhook's signature: an HMAC over its id, its timestamp and its raw body.
 * Malformed input is false, never a throw.
 */
import { createHmac, timingSafeEqual } from 'node:crypto'

/** A header's value as `request.headers` has it. */
type Header = string | string[] | undefined

/** What can be checked before the body has arrived. */
export interface SignatureHeaders {
  /** `webhook-id` */
  id: Header
  /** `webhook-timestamp`, seconds since 1970. */
  timestamp: Header
  /** `webhook-signature` */
  signature: Header
  /** ms since 1970 */
  now: number
}

export interface SignedWebhook extends SignatureHeaders {
  /** The raw body as received, not serialised again. */
  body: Buffer
  /** Any of these secrets may have signed: for rotation. */
  secrets: readonly string[]
}

const MAX_AGE_MS = 300 * 1000

/** No dot: with one, the same signed text could be split into another id, timestamp and body. */
const ID = /^[\w:~-]{1,200}$/
const TIMESTAMP = /^\d{1,12}$/
const SIGNATURE = /^v3,([\da-fA-F]{64})$/

/** Whether the headers are well-formed and recent. If not, no body can have a valid signature. */
export const hasSignatureHeaders = (headers: SignatureHeaders): boolean => parseSignature(headers) !== null

/** The signature in hex; null: malformed or too old. */
function parseSignature({ id, timestamp, signature, now }: SignatureHeaders): string | null {
  if (typeof id !== 'string' || typeof timestamp !== 'string' || typeof signature !== 'string') return null
  if (!ID.test(id) || !TIMESTAMP.test(timestamp)) return null
  if (Math.abs(now - Number(timestamp) * 1000) > MAX_AGE_MS) return null
  return SIGNATURE.exec(signature)?.[1] ?? null
}

export function verifyWebhookSignature(webhook: SignedWebhook): boolean {
  const { id, timestamp, body, secrets } = webhook
  const signatureHex = parseSignature(webhook)
  if (signatureHex === null) return false
  const received = Buffer.from(signatureHex, 'hex')
  return signingKeys(secrets).some(key => {
    const expected = createHmac('sha256', key).update(`${id}.${timestamp}.`).update(body).digest()
    return received.length === expected.length && timingSafeEqual(received, expected)
  })
}

/** The secrets without their prefix, not base64-decoded although they look so. An empty secret is ignored. */
const signingKeys = (secrets: readonly string[]) =>
  secrets.map(secret => secret.replace(/^whsec_/, '')).filter(key => key !== '')
