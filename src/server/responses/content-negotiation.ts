/**
 * What a response may be, by the request's headers: which of several forms, and whether the client has it already.
 */
import { createHash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'

/**
 * Which of these a header with qualities (Accept, Accept-Encoding) names as its best, the first of equals; wildcards
 * name none.
 */
export function negotiate(
  header: string | string[] | undefined,
  supported: readonly string[],
): string | null {
  const accepted = String(header ?? '')
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

export const computeEtag = (body: string | Buffer): string =>
  `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`

/** By If-None-Match, compared weakly as RFC 9110 says. */
export const isNotModified = ({ headers }: Pick<IncomingMessage, 'headers'>, etag: string): boolean =>
  (headers['if-none-match'] ?? '')
    .split(',')
    .some(candidate => ['*', etag].includes(candidate.trim().replace(/^W\//, '')))
