/**
 * Parses an upload ticket: where to PUT a file, with which headers, and its download URL. Pure.
 * Invariant: a URL named by a response must be as safe as the base URL: https, or plain http if both are on
 * loopback. Our API key is never sent there.
 */
import { z } from 'zod'

export interface UploadTicket {
  url: string
  headers: Record<string, string>
  /** URL from which upstream will fetch the file. */
  downloadUrl: string
}

/** Headers that control the connection or identify us. */
const FORBIDDEN_HEADERS =
  /^(authorization|cookie|connection|content-length|expect|host|keep-alive|te|trailer|transfer-encoding|upgrade|proxy-.*)$/i

const ticketSchema = z.object({
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

/** Null if the ticket is invalid or its URLs are not trusted. */
export function parseTicket(data: unknown, baseUrl: string): UploadTicket | null {
  const parsed = ticketSchema.safeParse(data)
  if (!parsed.success) return null
  const { download_url: downloadUrl, upload } = parsed.data
  if (![upload.url, downloadUrl].every(url => isTrustedUrl(url, baseUrl))) return null
  const headers = Object.entries(upload.headers).filter(([name]) => !FORBIDDEN_HEADERS.test(name))
  return { url: upload.url, headers: Object.fromEntries(headers), downloadUrl }
}

function isTrustedUrl(text: string, baseUrl: string): boolean {
  const url = URL.parse(text)
  if (url === null || url.username !== '' || url.password !== '') return false
  return url.protocol === 'https:' || [url, new URL(baseUrl)].every(isLoopbackHttp)
}

const isLoopbackHttp = ({ protocol, hostname }: URL): boolean =>
  protocol === 'http:' &&
  (hostname === 'localhost' || hostname === '[::1]' || /^127(\.\d+){3}$/.test(hostname))
