/**
 * Upstream's leave to put a file somewhere: where, with which headers, and where it can be fetched then. Pure.
 * Invariant: an address that an answer named is no better than the base URL: https, or plain http where both are on
 * loopback. No credential of ours goes there.
 */
import { z } from 'zod'

export interface Ticket {
  url: string
  headers: Record<string, string>
  /** Where upstream will fetch it. */
  downloadUrl: string
}

/** Of those that make a connection, and that would say who we are. */
const NOT_THEIRS =
  /^(authorization|cookie|connection|content-length|expect|host|keep-alive|te|trailer|transfer-encoding|upgrade|proxy-.*)$/i

const ticket = z.object({
  download_url: z.string(),
  upload: z.object({
    method: z.literal('PUT'),
    url: z.string(),
    headers: z
      .record(z.string().regex(/^[!#$%&'*+.^`|~\w-]+$/), z.string().regex(/^[\t\x20-\x7e]*$/))
      .nullish()
      .transform(headers => headers ?? {}),
  }),
})

/** Null if it is none, or not to be trusted. */
export function readTicket(data: unknown, baseUrl: string): Ticket | null {
  const read = ticket.safeParse(data)
  if (!read.success) return null
  const { download_url: downloadUrl, upload } = read.data
  if (![upload.url, downloadUrl].every(url => isTrusted(url, baseUrl))) return null
  const headers = Object.entries(upload.headers).filter(([name]) => !NOT_THEIRS.test(name))
  return { url: upload.url, headers: Object.fromEntries(headers), downloadUrl }
}

function isTrusted(text: string, baseUrl: string): boolean {
  const url = URL.parse(text)
  if (url === null || url.username !== '' || url.password !== '') return false
  return url.protocol === 'https:' || [url, new URL(baseUrl)].every(isLocal)
}

const isLocal = ({ protocol, hostname }: URL): boolean =>
  protocol === 'http:' &&
  (hostname === 'localhost' || hostname === '[::1]' || /^127(\.\d+){3}$/.test(hostname))
