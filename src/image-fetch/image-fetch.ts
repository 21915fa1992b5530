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
import { type ImageHead, MOST_IMAGE_BYTES, readImage } from '../domain/image-format.ts'
import { Client, request } from '../runtime/undici.ts'
import { createLookup } from './dns-lookup.ts'
import { isPublic } from './public-address.ts'
import { guarded } from './ssrf-guard.ts'

export interface Reach {
  /** Never throws. A look that `signal` cut off is unreachable too, and says nothing of the image: look at the signal. */
  look(url: string, signal?: AbortSignal): Promise<Reached>
  close(): Promise<void>
}

export type Reached =
  | (ImageHead & { kind: 'image'; bytes: number | null })
  | { kind: 'no image' }
  | { kind: 'too large' }
  /** The reason is for the log alone: it could tell an app what there is in the private network. */
  | { kind: 'unreachable'; reason: string }

export interface ReachOptions {
  /** Addresses of the private network are connected to as well: for development. */
  allowPrivate: boolean
  lookup?: LookupFunction
  /** For the whole look, redirects and all, ms. */
  timeoutMs?: number
}

export const REACH_TIMEOUT_MS = 5000
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308])
const MOST_REDIRECTS = 5
/** Of the image; the rest is only counted, and only where its length was not told. */
const HEAD_BYTES = 64 * 1024
/** Of the body as it comes: a compressed one can be endless and yet nothing. */
const MOST_BYTES_READ = MOST_IMAGE_BYTES + 1024 * 1024

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

export function createReach({
  allowPrivate,
  // Names of one machine are in its hosts file.
  lookup = allowPrivate ? resolve : createLookup(),
  timeoutMs = REACH_TIMEOUT_MS,
}: ReachOptions): Reach {
  const isAllowed = allowPrivate ? () => true : isPublic
  const closing = new AbortController()

  async function follow(url: string, signal: AbortSignal): Promise<Reached> {
    let target = URL.parse(url)
    for (let hop = 0; hop <= MOST_REDIRECTS; hop++) {
      if (target === null || !/^https?:$/.test(target.protocol)) return unreachable('NOT_HTTP')
      // Each hop for itself: undici's Agent keeps a pool for every host whose answer was ever let go of (8.12).
      const client = new Client(target.origin, {
        connect: guarded(isAllowed, lookup, signal),
        allowH2: false,
        pipelining: 0,
        maxResponseSize: MOST_BYTES_READ,
      })
      try {
        const response = await request(client, target, { method: 'GET', headers: HEADERS, signal })
        if (!REDIRECTS.has(response.statusCode)) return await judge(response)
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
    async look(url, stop) {
      const ends = [closing.signal, AbortSignal.timeout(timeoutMs), ...(stop ? [stop] : [])]
      const signal = AbortSignal.any(ends)
      try {
        return await follow(url, signal)
      } catch (error) {
        return unreachable(reasonOf(signal.aborted ? signal.reason : error))
      }
    },

    async close() {
      closing.abort()
    },
  }
}

async function judge({ statusCode, headers, body }: Dispatcher.ResponseData): Promise<Reached> {
  if (statusCode !== 200) return unreachable(`HTTP_${statusCode}`)
  const length = headers['content-length']
  const bytes = typeof length === 'string' ? Number(length) : null
  if (bytes !== null && bytes > MOST_IMAGE_BYTES) return { kind: 'too large' }

  const decode = DECODERS.get(String(headers['content-encoding']).toLowerCase())
  const told = decode ? null : bytes
  const { head, size } = await read(decode ? pipeline(body, decode(), () => {}) : body, told !== null)
  const image = readImage(head)
  if (image === null) return { kind: 'no image' }
  if (size > MOST_IMAGE_BYTES) return { kind: 'too large' }
  return { kind: 'image', ...image, bytes: told }
}

/** Its head; and where its length was not told, all the rest, to count it. */
async function read(body: AsyncIterable<Buffer>, isTold: boolean): Promise<{ head: Buffer; size: number }> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of body) {
    if (size < HEAD_BYTES) chunks.push(chunk)
    size += chunk.length
    if (size > MOST_IMAGE_BYTES || (size >= HEAD_BYTES && (isTold || !readImage(Buffer.concat(chunks)))))
      break
  }
  return { head: Buffer.concat(chunks).subarray(0, HEAD_BYTES), size }
}

const unreachable = (reason: string): Reached => ({ kind: 'unreachable', reason })

/** Its code or its name: a message may name the host. */
function reasonOf(error: unknown): string {
  const { code, name } = (error ?? {}) as { code?: unknown; name?: unknown }
  return typeof code === 'string' ? code : String(name)
}
