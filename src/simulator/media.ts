/**
 * Uploads to upstream: by a ticket and a PUT, or by one call with a form. Files are kept for a week.
 * Like upstream's, the PUT must have exactly the ticket's headers and length, and no `Authorization`.
 */
import { randomBytes } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import type { Reply } from './call.ts'
import { WEEK_MS } from './job.ts'
import type { SimulatorStore, StoredFile } from './simulator-store.ts'

export interface Media {
  createTicket(body: unknown): Reply
  putFile(id: string, headers: IncomingHttpHeaders, data: Buffer): Reply
  uploadForm(file: File | null, data: Buffer): Reply
  /** Null: it was never uploaded, or has expired. */
  fileAt(path: string): StoredFile | null
}

/** A path below the origin, outside the API's path. */
export const PUT_PATH = '/media/files/'
const FILES_PATH = '/files/uploads/'
const TICKET_MS = 15 * 60 * 1000
const MAX_FILE_BYTES = 100 * 1024 * 1024
/** Headers that no HTTP client adds by itself. */
const EXPLICIT_HEADERS = /^(x-|content-(type|encoding|md5)$)/

export function createMedia(store: SimulatorStore, now: () => number, origin: () => string): Media {
  const downloadUrl = (id: string) => `${origin()}${FILES_PATH}${id}`
  const newId = () => randomBytes(16).toString('hex')

  return {
    createTicket(body) {
      const { filename, size, content_type: type } = (body ?? {}) as Record<string, unknown>
      if (typeof filename !== 'string' || filename === '') return errorReply(400, 'filename is required')
      if (!Number.isInteger(size) || (size as number) < 1) return errorReply(400, 'size is required')
      if ((size as number) > MAX_FILE_BYTES) return errorReply(413, 'the file is too large')
      const id = newId()
      const headers = {
        'content-type': typeof type === 'string' ? type : 'application/octet-stream',
        'x-upload-token': randomBytes(16).toString('hex'),
      }
      const expiresAt = now() + TICKET_MS
      store.addFile({ id, headers, size: size as number, createdAt: now(), data: null })
      return success({
        download_url: downloadUrl(id),
        upload: {
          method: 'PUT',
          url: `${origin()}${PUT_PATH}${id}`,
          headers,
          expires_at: new Date(expiresAt).toISOString(),
        },
      })
    },

    putFile(id, headers, data) {
      const file = store.file(id)
      if (file === null || file.createdAt + TICKET_MS <= now()) return errorReply(403, 'the ticket is over')
      if (headers.authorization !== undefined) return errorReply(400, 'one credential at a time')
      const unsigned = Object.keys(headers).filter(
        name => EXPLICIT_HEADERS.test(name) && !(name in file.headers),
      )
      const isSigned = Object.entries(file.headers).every(([name, value]) => headers[name] === value)
      if (!isSigned || unsigned.length > 0) return errorReply(403, 'the headers are not those of the ticket')
      if (data.length !== file.size) return errorReply(400, 'the length is not that of the ticket')
      store.putFile(id, data)
      return success({})
    },

    uploadForm(file, data) {
      if (file === null) return errorReply(400, 'file is required')
      const id = newId()
      const headers = { 'content-type': file.type || 'application/octet-stream' }
      store.addFile({ id, headers, size: data.length, createdAt: now(), data })
      return success({ type: 'image', download_url: downloadUrl(id), filename: file.name, size: data.length })
    },

    fileAt(path) {
      const file = path.startsWith(FILES_PATH) ? store.file(path.slice(FILES_PATH.length)) : null
      return file?.data && file.createdAt + WEEK_MS > now() ? file : null
    },
  }
}

const success = (data: object): Reply => ({ status: 200, body: { code: 200, message: 'success', data } })
const errorReply = (code: number, message: string): Reply => ({
  status: code,
  body: { code, message, data: null },
})
