/**
 * Parser of a GraphQL multipart request: its operations, the path where its one file belongs, and the file.
 * Invariant: memory is bounded by the limits. An invalid request gives an error with a status of its own. No
 * name in the request sets anything but the null that the file replaces.
 */
import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import { setTimeout } from 'node:timers/promises'
import { MAX_IMAGE_BYTES } from '../../domain/image-format.ts'
import type { UploadFile } from '../../graphql/upload-file.ts'

export interface MultipartRequest {
  /** JSON, not parsed yet. */
  operations: string
  /** Path of the null in `operations` that the file replaces. */
  path: string[]
  file: UploadFile
}

export interface MultipartError {
  status: 400 | 408 | 413
  expected: string
}

/** Max bytes of `operations`, and of `map`. */
const MAX_FIELD_BYTES = 256 * 1024
const LIMITS = {
  fieldNameSize: 100,
  fieldSize: MAX_FIELD_BYTES,
  fields: 2,
  files: 1,
  parts: 3,
  headerPairs: 20,
  headerSize: 8 * 1024,
}
/** Max bytes of the whole body: the file, the fields and the boundaries. */
const MAX_FORM_BYTES = MAX_IMAGE_BYTES + 1024 * 1024

/** whatwg-node's Request, whose `formData` takes limits. The DOM's does not. */
type LimitedRequest = Request & { formData(options: { formDataLimits: object }): Promise<FormData> }

/**
 * @param Request whatwg-node's class
 * @param isFileWanted false: the fields before the file are read, and the file is not
 */
export async function parseMultipart(
  request: IncomingMessage,
  Request: typeof globalThis.Request,
  isFileWanted: boolean,
): Promise<MultipartRequest | MultipartError> {
  const { method, headers } = request
  const body = Readable.from(enforceBodyLimits(request))
  const isWithinSizeLimit = !(Number(headers['content-length']) > MAX_FORM_BYTES)
  const formDataLimits = { ...LIMITS, fileSize: isFileWanted && isWithinSizeLimit ? MAX_IMAGE_BYTES : 0 }
  const init = { method, headers, body, duplex: 'half' } as unknown as RequestInit
  const limitedRequest = new Request('http://localhost', init) as LimitedRequest
  let isTooLarge = false
  try {
    await limitedRequest.formData({ formDataLimits })
  } catch (error) {
    const { message } = error as Error
    isTooLarge = message.startsWith('File size limit exceeded')
    if (!isTooLarge) return toMultipartError(message)
  }
  // The fields come before the file, so they are complete even if the file is too large.
  return readFormData(await limitedRequest.formData({ formDataLimits }), isTooLarge)
}

/** A pause of this length is allowed. A slower body would keep its upload slot from others. */
const GRACE_MS = 10_000
const MIN_BYTES_PER_SECOND = 16 * 1024

async function* enforceBodyLimits(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const chunks = body[Symbol.asyncIterator]()
  const startedAt = performance.now()
  for (let size = 0; ; ) {
    const leftMs = startedAt + GRACE_MS + (size / MIN_BYTES_PER_SECOND) * 1000 - performance.now()
    const timer = new AbortController()
    const timeout = setTimeout(Math.max(leftMs, 0), null, { signal: timer.signal, ref: false })
    const next = await Promise.race([chunks.next(), timeout])
    timer.abort()
    timeout.catch(() => {})
    if (next === null) throw new Error(TOO_SLOW)
    if (next.done) return
    size += next.value.length
    if (size > MAX_FORM_BYTES) throw new Error('Request size limit exceeded')
    yield next.value
  }
}

const TOO_SLOW = 'Request too slow'

function toMultipartError(message: string): MultipartError {
  if (message === TOO_SLOW)
    return { status: 408, expected: `a form at ${MIN_BYTES_PER_SECOND} bytes a second or more` }
  return /^(Field value|Request) size limit|^Field value size/.test(message)
    ? { status: 413, expected: `at most ${MAX_FIELD_BYTES} bytes a field` }
    : { status: 400, expected: 'a form of the fields operations and map, and one file' }
}

async function readFormData(form: FormData, isTooLarge: boolean): Promise<MultipartRequest | MultipartError> {
  const operations = form.get('operations')
  const map = parseMap(form.get('map'))
  if (typeof operations !== 'string')
    return { status: 400, expected: 'a field operations of JSON, before its file' }
  if (map === null)
    return {
      status: 400,
      expected: 'a field map that names one file and one place, as in {"0": ["variables.file"]}',
    }
  const file = isTooLarge ? null : form.get(map.name)
  if (typeof file === 'string' || (file === null && !isTooLarge))
    return { status: 400, expected: 'the file that map names' }
  const bytes = file && (await (file as unknown as Blob).bytes())
  const data = bytes && Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return { operations, path: map.path, file: { read: () => data } }
}

function parseMap(text: FormDataEntryValue | null): { name: string; path: string[] } | null {
  if (typeof text !== 'string') return null
  let map: unknown
  try {
    map = JSON.parse(text)
  } catch {
    return null
  }
  if (typeof map !== 'object' || map === null || Array.isArray(map)) return null
  const [entry, ...others] = Object.entries(map)
  if (entry === undefined || others.length > 0) return null
  const [name, paths] = entry
  if (!Array.isArray(paths) || paths.length !== 1 || typeof paths[0] !== 'string') return null
  return { name, path: paths[0].split('.') }
}

/** Returns whether the path led to a null in `variables`. */
export function insertFile(params: object, { path, file }: Pick<MultipartRequest, 'path' | 'file'>): boolean {
  let current: unknown = params
  for (const [i, key] of path.entries()) {
    if (typeof current !== 'object' || current === null || !Object.hasOwn(current, key)) return false
    const parent = current as Record<string, unknown>
    if (i === path.length - 1 && i > 0 && parent[key] === null) {
      Object.defineProperty(parent, key, { value: file, enumerable: true })
      return path[0] === 'variables'
    }
    current = parent[key]
  }
  return false
}
