/**
 * The address that upstream is given for a row's webhook, and the row that such an address is of.
 * Invariant: nobody but this gateway can make one: its token is the row's id under a key kept in the database, for an
 * unknown row has no id of upstream's to be found by.
 */
import { createHmac, timingSafeEqual } from 'node:crypto'

export const WEBHOOK_PATH = '/webhooks/wavespeed'

export interface WebhookUrls {
  /** Null where no webhook is to be asked for. */
  urlFor(id: string): string | null
  /** The row's id, or null for a token that is none of ours. */
  verifyToken(token: string): string | null
}

/** @param publicUrl where upstream reaches this gateway, without a slash at its end; null: nowhere */
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
