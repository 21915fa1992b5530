/**
 * Whether whoever asks has it already: by If-None-Match, as RFC 9110 compares it, weakly.
 */
import { createHash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'

export const etagOf = (body: string | Buffer): string =>
  `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`

export const isKnown = ({ headers }: Pick<IncomingMessage, 'headers'>, etag: string): boolean =>
  (headers['if-none-match'] ?? '')
    .split(',')
    .some(one => ['*', etag].includes(one.trim().replace(/^W\//, '')))
