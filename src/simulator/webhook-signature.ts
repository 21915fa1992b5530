/**
 * How upstream signs a webhook. Pure. The key is the secret without its prefix, as it is written: it is not decoded.
 */
import { createHmac } from 'node:crypto'

/** The headers of a webhook. @param now ms since 1970 */
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
