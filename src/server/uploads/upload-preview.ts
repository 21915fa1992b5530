/**
 * Previews: an uploaded image, to whoever has its address.
 * Invariant: it can be looked at and never run: no page, no script and no frame of this origin comes of any bytes. It is read
 * in parts as they are taken, so that no number of watchers fills the memory.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { addressIn, type Upload } from '../../domain/upload.ts'
import { partsOf } from '../../store/image-stream.ts'
import type { Uploads } from '../../store/store.ts'
import { isKnown } from '../responses/content-negotiation.ts'

export type Previews = (request: IncomingMessage, response: ServerResponse, path: string) => Promise<void>

/** Seconds a browser may keep one: that of an address that has leaked is let go of, some day. */
const LONGEST_KEPT = 24 * 60 * 60

export const createPreviews =
  (store: Pick<Uploads, 'uploadAt' | 'imagePart'>, now: () => number): Previews =>
  async ({ headers, method }, response, path) => {
    const address = addressIn(path)
    const upload = address === null ? null : await store.uploadAt(address)
    if (upload === null)
      return void response
        .writeHead(404, { 'content-type': 'text/plain; charset=utf-8' })
        .end('There is no such image.\n')

    const etag = `"${upload.hash}"`
    const kept = Math.min(Math.max(Math.floor((upload.expiresAt - now()) / 1000), 0), LONGEST_KEPT)
    const common = {
      etag,
      'cache-control': `private, max-age=${kept}`,
      'content-security-policy': "default-src 'none'; sandbox; frame-ancestors 'none'",
      'cross-origin-resource-policy': 'cross-origin',
    }
    if (isKnown({ headers }, etag)) return void response.writeHead(304, common).end()
    response.writeHead(200, {
      ...common,
      'content-type': upload.contentType,
      'content-length': upload.bytes,
      'content-disposition': `inline; filename="image.${ENDINGS[upload.contentType]}"`,
    })
    if (method === 'HEAD') return void response.end()
    // Whoever goes away in the middle is no fault.
    await pipeline(Readable.from(partsOf(store, upload), { highWaterMark: 1 }), response).catch(() =>
      response.destroy(),
    )
  }

const ENDINGS: Readonly<Record<Upload['contentType'], string>> = {
  'image/jpeg': 'jpg',
  'image/png': 'png',
  'image/webp': 'webp',
  'image/bmp': 'bmp',
}
