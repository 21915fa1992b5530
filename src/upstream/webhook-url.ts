/**
 * The address that upstream is given for a row's webhook, and the row that such an address is of.
 * Invariant: nobody but this gateway can make one: its token is the row's id under a key kept in the database, for an
 * unknown row has no id of upstream's to be found by.
 */
import { createHmac, timingSafeEqual } from 'node:crypto'

export const WEBHOOK_PATH = '/webhooks/wavespeed'

export interface WebhookAddresses {
  /** Null where no webhook is to be asked for. */
  of(id: string): string | null
  /** The row's id, or null for a token that is none of ours. */
  idOf(token: string): string | null
}

/** @param publicUrl where upstream reaches this gateway, without a slash at its end; null: nowhere */
export function createWebhookAddresses(key: Buffer, publicUrl: string | null): WebhookAddresses {
  const tokenOf = (id: string) =>
    `${id}.${createHmac('sha256', key).update(`webhook:${id}`).digest('base64url').slice(0, 32)}`
  return {
    of: id => publicUrl && `${publicUrl}${WEBHOOK_PATH}?p=${tokenOf(id)}`,
    idOf(token) {
      const [id = ''] = token.split('.', 1)
      const given = Buffer.from(token)
      const due = Buffer.from(tokenOf(id))
      return given.length === due.length && timingSafeEqual(given, due) ? id : null
    },
  }
}
