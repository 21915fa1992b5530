/**
 * Checks that an image URL can be fetched and is an image, before money is spent on it.
 * Invariant: every connection, also of each redirect, goes through the SSRF guard, so none reaches the
 * private network. Redirects are followed here by hand, without cookies, credentials or a proxy. Nothing is
 * logged here, and no reason contains a URL, a host or an address.
 */
import { lookup as resolve } from 'node:dns'
import type { LookupFunction } from 'node:net'
import { pipeline, type Transform } from 'node:stream'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib'
import type { Dispatcher } from 'undici'
import { type ImageHeader, MAX_IMAGE_BYTES, parseImageHeader } from '../domain/image-format.ts'
import { Client, request } from '../runtime/undici.ts'
import { createLookup } from './dns-lookup.ts'
import { isPublicAddress } from './public-address.ts'
import { createResponseLimits } from './response-limits.ts'
import { createGuardedConnector } from './ssrf-guard.ts'

export interface ImageFetch {
  /**
   * Never throws. A check that `signal` aborted is `unreachable` too and says nothing about the image: test
   * the signal.
   */
  checkImage(url: string, signal?: AbortSignal): Promise<ImageCheck>
  close(): Promise<void>
}

export type ImageCheck =
  | (ImageHeader & { kind: 'image'; bytes: number | null })
  | { kind: 'no image' }
  | { kind: 'too large' }
  /** The reason is for the log only: it could reveal to an app what is in the private network. */
  | { kind: 'unreachable'; reason: string }

export interface ImageFetchOptions {
  /** Also connects to private addresses: for development. */
  allowPrivateImageHosts: boolean
  lookup?: LookupFunction
  /** Timeout of the whole check with redirects, ms. */
  timeoutMs?: number
}

export const IMAGE_FETCH_TIMEOUT_MS = 5000
const REDIRECT_STATUSES: ReadonlySet<number> = new Set([301, 302, 303, 307, 308])
const MAX_REDIRECTS = 5
/**
 * Max bytes of the image kept for its header. The rest is only counted, and only if its length is unknown.
 */
const MAX_HEAD_BYTES = 64 * 1024
/**
 * Bytes of an image that are read in one turn of the event loop. Without a limit Node reads 2 MB of each connection: eight
 * fast hosts held other requests up by 100 ms (measured).
 */
const BYTES_PER_TURN = 64 * 1024
/** Max bytes of the body as sent: a compressed body can be endless and decode to nothing. */
const MAX_BODY_BYTES = MAX_IMAGE_BYTES + 1024 * 1024

/** Some servers compress unasked; other clients decode it silently. */
const DECODERS: ReadonlyMap<string, () => Transform> = new Map([
  ['gzip', createGunzip],
  ['x-gzip', createGunzip],
  ['deflate', createInflate],
  ['br', createBrotliDecompress],
])

// No `Range`: some servers reject it, and upstream will fetch the whole image.
const HEADERS = {
  accept: '*/*',
  'accept-encoding': 'identity',
  // Some servers answer 403 without a User-Agent.
  'user-agent': 'Mozilla/5.0 (compatible; Rushes)',
}

export function createImageFetch({
  allowPrivateImageHosts,
  // A developer's local names are in the hosts file.
  lookup = allowPrivateImageHosts ? resolve : createLookup(),
  timeoutMs = IMAGE_FETCH_TIMEOUT_MS,
}: ImageFetchOptions): ImageFetch {
  const isAllowed = allowPrivateImageHosts ? () => true : isPublicAddress
  const closing = new AbortController()

  async function followRedirects(url: string, signal: AbortSignal): Promise<ImageCheck> {
    let target = URL.parse(url)
    for (let hop = 0; hop <= MAX_REDIRECTS; hop++) {
      if (target === null || !/^https?:$/.test(target.protocol)) return unreachable('NOT_HTTP')
      const { limitReads, limitPieces } = createResponseLimits()
      // A client per hop: undici's Agent keeps a pool for every host it has ever contacted (8.12).
      const client = new Client(target.origin, {
        connect: createGuardedConnector(isAllowed, lookup, signal, limitReads),
        allowH2: false,
        pipelining: 0,
        maxResponseSize: MAX_BODY_BYTES,
      })
      try {
        const response = await request(client.compose(limitPieces), target, {
          method: 'GET',
          headers: HEADERS,
          signal,
        })
        if (!REDIRECT_STATUSES.has(response.statusCode)) return await checkResponse(response)
        const { location } = response.headers
        // Browsers read bytes beyond ASCII as UTF-8.
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

/** Reads the image's head, and judges it once. If the length is unknown, also counts the rest. */
async function readHead(
  body: AsyncIterable<Buffer>,
  isLengthKnown: boolean,
): Promise<{ head: Buffer; size: number }> {
  const head = Buffer.alloc(MAX_HEAD_BYTES)
  let size = 0
  let bytesInTurn = 0
  for await (const chunk of body) {
    const isInHead = size < MAX_HEAD_BYTES
    if (isInHead) chunk.copy(head, size)
    size += chunk.length
    const isHeadComplete = isInHead && size >= MAX_HEAD_BYTES
    if (size > MAX_IMAGE_BYTES || (isHeadComplete && (isLengthKnown || parseImageHeader(head) === null)))
      break
    bytesInTurn += chunk.length
    if (bytesInTurn < BYTES_PER_TURN) continue
    bytesInTurn = 0
    await nextTurn()
  }
  return { head: head.subarray(0, Math.min(size, MAX_HEAD_BYTES)), size }
}

const unreachable = (reason: string): ImageCheck => ({ kind: 'unreachable', reason })

/** The error's code or name: its message may contain the host. */
function reasonOf(error: unknown): string {
  const { code, name } = (error ?? {}) as { code?: unknown; name?: unknown }
  return typeof code === 'string' ? code : String(name)
}
