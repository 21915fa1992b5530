/**
 * What a response may be, by the request's headers: which of several forms, and whether the client has it already.
 */
import { createHash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'

/**
 * Which of these a header with qualities (Accept, Accept-Encoding) names as its best, the first of equals; wildcards
 * name none.
 */
export function preferred(header: string | string[] | undefined, names: readonly string[]): string | null {
  const named = String(header ?? '')
    .toLowerCase()
    .split(',')
    .map(entry => {
      const [name = '', ...parameters] = entry.split(';').map(part => part.trim())
      const quality = parameters.find(parameter => parameter.startsWith('q='))
      return { name, quality: quality === undefined ? 1 : Number(quality.slice(2)) }
    })
    .filter(({ name, quality }) => names.includes(name) && quality > 0)
  const best = Math.max(...named.map(({ quality }) => quality))
  return named.find(({ quality }) => quality === best)?.name ?? null
}

export const etagOf = (body: string | Buffer): string =>
  `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`

/** By If-None-Match, compared weakly as RFC 9110 says. */
export const isKnown = ({ headers }: Pick<IncomingMessage, 'headers'>, etag: string): boolean =>
  (headers['if-none-match'] ?? '')
    .split(',')
    .some(one => ['*', etag].includes(one.trim().replace(/^W\//, '')))
