/**
 * Webhook URLs given to upstream, and the prediction such a URL belongs to.
 * Invariant: only this gateway can make one. Its token is an HMAC of the prediction id under a key in the
 * database: a row without an upstream id can be found in no other way.
 */
import { createHmac, timingSafeEqual } from 'node:crypto'

export const WEBHOOK_PATH = '/webhooks/wavespeed'

export interface WebhookUrls {
  /** Null if no webhook is requested. */
  urlFor(id: string): string | null
  /** The prediction's id, or null for an invalid token. */
  verifyToken(token: string): string | null
}

/**
 * @param publicUrl base URL at which upstream reaches this gateway, without a trailing slash; null if it
 * cannot
 */
export function createWebhookUrls(key: Buffer, publicUrl: string | null): WebhookUrls {
  const createToken = (id: string) =>
    `${id}.${createHmac('sha256', key).update(`webhook:${id}`).digest('base64url').slice(0, 32)}`
  return {
    urlFor: id => publicUrl && `${publicUrl}${WEBHOOK_PATH}?p=${createToken(id)}`,
    verifyToken(token) {
      const [id = ''] = token.split('.', 1)
      const actual = Buffer.from(token)
      const expected = Buffer.from(createToken(id))
      return actual.length === expected.length && timingSafeEqual(actual, expected) ? id : null
    },
  }
}
