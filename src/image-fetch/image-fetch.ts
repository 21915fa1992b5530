/**
 * Whether an image's URL can be fetched, and is one, before money is spent on it.
 * Invariant: every connection, that of each redirect too, goes through the guard, so that none leads into the private
 * network. Redirects are followed here, by hand; no cookie, no credential and no proxy comes along.
 * Nothing here is logged, and no reason carries a URL, a host or an address.
 */
import { lookup as resolve } from 'node:dns'
import type { LookupFunction } from 'node:net'
import { pipeline, type Transform } from 'node:stream'
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib'
import type { Dispatcher } from 'undici'
import { type ImageHeader, MAX_IMAGE_BYTES, parseImageHeader } from '../domain/image-format.ts'
import { Client, request } from '../runtime/undici.ts'
import { createLookup } from './dns-lookup.ts'
import { isPublicAddress } from './public-address.ts'
import { createGuardedConnector } from './ssrf-guard.ts'

export interface ImageFetch {
  /** Never throws. A look that `signal` cut off is unreachable too, and says nothing of the image: look at the signal. */
  checkImage(url: string, signal?: AbortSignal): Promise<ImageCheck>
  close(): Promise<void>
}

export type ImageCheck =
  | (ImageHeader & { kind: 'image'; bytes: number | null })
  | { kind: 'no image' }
  | { kind: 'too large' }
  /** The reason is for the log alone: it could tell an app what there is in the private network. */
  | { kind: 'unreachable'; reason: string }

export interface ImageFetchOptions {
  /** Addresses of the private network are connected to as well: for development. */
  allowPrivateImageHosts: boolean
  lookup?: LookupFunction
  /** For the whole look, redirects and all, ms. */
  timeoutMs?: number
}

export const IMAGE_FETCH_TIMEOUT_MS = 5000
const REDIRECT_STATUSES: ReadonlySet<number> = new Set([301, 302, 303, 307, 308])
const MAX_REDIRECTS = 5
/** Of the image; the rest is only counted, and only where its length was not told. */
const MAX_HEAD_BYTES = 64 * 1024
/** Of the body as it comes: a compressed one can be endless and yet nothing. */
const MAX_BODY_BYTES = MAX_IMAGE_BYTES + 1024 * 1024

/** Not asked for, and sent by some all the same; whoever fetches the image undoes it in silence. */
const DECODERS: ReadonlyMap<string, () => Transform> = new Map([
  ['gzip', createGunzip],
  ['x-gzip', createGunzip],
  ['deflate', createInflate],
  ['br', createBrotliDecompress],
])

// No `Range`: some refuse it, and the whole image is what upstream will ask for.
const HEADERS = {
  accept: '*/*',
  'accept-encoding': 'identity',
  // Some answer 403 to whoever has no name.
  'user-agent': 'Mozilla/5.0 (compatible; Rushes)',
}

export function createImageFetch({
  allowPrivateImageHosts,
  // Names of one machine are in its hosts file.
  lookup = allowPrivateImageHosts ? resolve : createLookup(),
  timeoutMs = IMAGE_FETCH_TIMEOUT_MS,
}: ImageFetchOptions): ImageFetch {
  const isAllowed = allowPrivateImageHosts ? () => true : isPublicAddress
  const closing = new AbortController()

  async function followRedirects(url: string, signal: AbortSignal): Promise<ImageCheck> {
    let target = URL.parse(url)
    for (let hop = 0; hop <= MAX_REDIRECTS; hop++) {
      if (target === null || !/^https?:$/.test(target.protocol)) return unreachable('NOT_HTTP')
      // Each hop for itself: undici's Agent keeps a pool for every host whose answer was ever let go of (8.12).
      const client = new Client(target.origin, {
        connect: createGuardedConnector(isAllowed, lookup, signal),
        allowH2: false,
        pipelining: 0,
        maxResponseSize: MAX_BODY_BYTES,
      })
      try {
        const response = await request(client, target, { method: 'GET', headers: HEADERS, signal })
        if (!REDIRECT_STATUSES.has(response.statusCode)) return await checkResponse(response)
        const { location } = response.headers
        // Bytes beyond ASCII are UTF-8 to every browser.
        target =
          typeof location === 'string' ? URL.parse(Buffer.from(location, 'latin1').toString(), target) : null
      } finally {
        await client.destroy()
      }
    }
    return unreachable('TOO_MANY_REDIRECTS')
  }

  return {
    async checkImage(url, stop) {
      const abortSignals = [closing.signal, AbortSignal.timeout(timeoutMs), ...(stop ? [stop] : [])]
      const signal = AbortSignal.any(abortSignals)
      try {
        return await followRedirects(url, signal)
      } catch (error) {
        return unreachable(reasonOf(signal.aborted ? signal.reason : error))
      }
    },

    async close() {
      closing.abort()
    },
  }
}

async function checkResponse({ statusCode, headers, body }: Dispatcher.ResponseData): Promise<ImageCheck> {
  if (statusCode !== 200) return unreachable(`HTTP_${statusCode}`)
  const length = headers['content-length']
  const bytes = typeof length === 'string' ? Number(length) : null
  if (bytes !== null && bytes > MAX_IMAGE_BYTES) return { kind: 'too large' }

  const decode = DECODERS.get(String(headers['content-encoding']).toLowerCase())
  const knownBytes = decode ? null : bytes
  const { head, size } = await readHead(
    decode ? pipeline(body, decode(), () => {}) : body,
    knownBytes !== null,
  )
  const image = parseImageHeader(head)
  if (image === null) return { kind: 'no image' }
  if (size > MAX_IMAGE_BYTES) return { kind: 'too large' }
  return { kind: 'image', ...image, bytes: knownBytes }
}

/** Its head; and where its length was not told, all the rest, to count it. */
async function readHead(
  body: AsyncIterable<Buffer>,
  isLengthKnown: boolean,
): Promise<{ head: Buffer; size: number }> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of body) {
    if (size < MAX_HEAD_BYTES) chunks.push(chunk)
    size += chunk.length
    if (
      size > MAX_IMAGE_BYTES ||
      (size >= MAX_HEAD_BYTES && (isLengthKnown || !parseImageHeader(Buffer.concat(chunks))))
    )
      break
  }
  return { head: Buffer.concat(chunks).subarray(0, MAX_HEAD_BYTES), size }
}

const unreachable = (reason: string): ImageCheck => ({ kind: 'unreachable', reason })

/** Its code or its name: a message may name the host. */
function reasonOf(error: unknown): string {
  const { code, name } = (error ?? {}) as { code?: unknown; name?: unknown }
  return typeof code === 'string' ? code : String(name)
}
