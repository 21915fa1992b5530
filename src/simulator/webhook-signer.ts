/**
 * Signs a webhook as upstream does. Pure.
 * The HMAC key is the text of the secret without its prefix; it is not base64-decoded.
 */
import { createHmac } from 'node:crypto'

/** Returns the headers of a webhook. @param now Unix milliseconds */
export function signWebhook(secret: string, id: string, now: number, body: string): Record<string, string> {
  const timestamp = `${Math.floor(now / 1000)}`
  const mac = createHmac('sha256', secret.replace(/^whsec_/, '')).update(`${id}.${timestamp}.${body}`)
  return {
    'content-type': 'application/json',
    'webhook-id': id,
    'webhook-timestamp': timestamp,
    'webhook-signature': `v3,${mac.digest('hex')}`,
  }
}
