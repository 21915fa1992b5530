/**
 * Content negotiation and caching: which of several forms a client accepts, and whether it has the response
 * already.
 */
import { createHash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'

/** A header is read this far. A header of 15,000 commas took 5 ms (measured); those of browsers have 200 characters. */
const MAX_HEADER_CHARACTERS = 1000

/**
 * The supported value with the highest quality in a header (Accept, Accept-Encoding): the first among equals.
 * Wildcards match nothing.
 */
export function negotiate(
  header: string | string[] | undefined,
  supported: readonly string[],
): string | null {
  const accepted = String(header ?? '')
    .slice(0, MAX_HEADER_CHARACTERS)
    .toLowerCase()
    .split(',')
    .map(entry => {
      const [name = '', ...parameters] = entry.split(';').map(part => part.trim())
      const quality = parameters.find(parameter => parameter.startsWith('q='))
      return { name, quality: quality === undefined ? 1 : Number(quality.slice(2)) }
    })
    .filter(({ name, quality }) => supported.includes(name) && quality > 0)
  const bestQuality = Math.max(...accepted.map(({ quality }) => quality))
  return accepted.find(({ quality }) => quality === bestQuality)?.name ?? null
}

export const acceptsGzip = ({ headers }: Pick<IncomingMessage, 'headers'>): boolean =>
  negotiate(headers['accept-encoding'], ['gzip']) !== null

export const computeEtag = (body: string | Buffer): string =>
  `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`

/**
 * Compares If-None-Match weakly, as RFC 9110 demands.
 * @param etag with its quotes, so that it is no part of another one
 */
export function isNotModified({ headers }: Pick<IncomingMessage, 'headers'>, etag: string): boolean {
  const candidates = headers['if-none-match'] ?? ''
  return candidates === '*' || candidates.includes(etag)
}
