/**
 * Previews: an uploaded image, to whoever has its address.
 * Invariant: it can be looked at and never run: no page, no script and no frame of this origin comes of any bytes. It is read
 * in parts as they are taken, so that no number of watchers fills the memory.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { parsePreviewPath, type Upload } from '../../domain/upload.ts'
import { streamImage } from '../../store/image-stream.ts'
import type { UploadStore } from '../../store/store.ts'
import { isNotModified } from '../responses/content-negotiation.ts'

export type UploadPreviews = (
  request: IncomingMessage,
  response: ServerResponse,
  path: string,
) => Promise<void>

/** Seconds a browser may keep one: that of an address that has leaked is let go of, some day. */
const MAX_CACHE_SECONDS = 24 * 60 * 60

export const createUploadPreviews =
  (store: Pick<UploadStore, 'uploadByPreviewToken' | 'imageChunk'>, now: () => number): UploadPreviews =>
  async ({ headers, method }, response, path) => {
    const previewToken = parsePreviewPath(path)
    const upload = previewToken === null ? null : await store.uploadByPreviewToken(previewToken)
    if (upload === null)
      return void response
        .writeHead(404, { 'content-type': 'text/plain; charset=utf-8' })
        .end('There is no such image.\n')

    const etag = `"${upload.hash}"`
    const maxAgeSeconds = Math.min(
      Math.max(Math.floor((upload.expiresAt - now()) / 1000), 0),
      MAX_CACHE_SECONDS,
    )
    const commonHeaders = {
      etag,
      'cache-control': `private, max-age=${maxAgeSeconds}`,
      'content-security-policy': "default-src 'none'; sandbox; frame-ancestors 'none'",
      'cross-origin-resource-policy': 'cross-origin',
    }
    if (isNotModified({ headers }, etag)) return void response.writeHead(304, commonHeaders).end()
    response.writeHead(200, {
      ...commonHeaders,
      'content-type': upload.contentType,
      'content-length': upload.bytes,
      'content-disposition': `inline; filename="image.${FILE_EXTENSIONS[upload.contentType]}"`,
    })
    if (method === 'HEAD') return void response.end()
    // Whoever goes away in the middle is no fault.
    await pipeline(Readable.from(streamImage(store, upload), { highWaterMark: 1 }), response).catch(() =>
      response.destroy(),
    )
  }

const FILE_EXTENSIONS: Readonly<Record<Upload['contentType'], string>> = {
  'image/jpeg': 'jpg',
  'image/png': 'png',
  'image/webp': 'webp',
  'image/bmp': 'bmp',
}
