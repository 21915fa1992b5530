/**
 * Previews: serves an uploaded image to each request that has its preview token.
 * Invariant: the response can be viewed, but it never runs as a page, a script or a frame of this origin. The
 * image is read in chunks as the client takes them, so that no number of clients fills the memory.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { DAY_MS, SECOND_MS } from '../../domain/time.ts'
import { parsePreviewPath, type Upload } from '../../domain/upload.ts'
import { streamImage } from '../../store/image-stream.ts'
import type { UploadStore } from '../../store/store.ts'
import { isNotModified } from '../responses/content-negotiation.ts'

export type UploadPreviews = (
  request: IncomingMessage,
  response: ServerResponse,
  path: string,
) => Promise<void>

/** Max time that a browser may cache an image, so that no image of a leaked URL is kept for good. */
const MAX_CACHE_SECONDS = DAY_MS / SECOND_MS

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
    // A client that disconnects midway is not an error.
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
