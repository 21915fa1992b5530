/**
 * Parser of a GraphQL multipart request: its operations, the path where its one file belongs, and the file.
 * Invariant: no part is copied. An invalid request gives an error with a status of its own. No name in the request
 * sets anything but the null that the file replaces.
 */
import { isUtf8 } from 'node:buffer'
import { MAX_IMAGE_BYTES } from '../../domain/image-format.ts'
import type { UploadFile } from '../../graphql/upload-file.ts'

export interface MultipartRequest {
  /** JSON in UTF-8, not parsed yet. */
  operations: Buffer
  /** Path of the null in `operations` that the file replaces. */
  path: string[]
  file: UploadFile
}

export interface MultipartError {
  status: 400 | 413 | 415
  expected: string
}

/** Max bytes of `operations`, and of `map`. */
const MAX_FIELD_BYTES = 256 * 1024
const MAX_HEADER_BYTES = 8 * 1024
const MAX_NAME_CHARACTERS = 100
const MAX_FIELDS = 2
/** RFC 2046. */
const MAX_BOUNDARY_CHARACTERS = 70
/** Max bytes of a form with its file, fields and boundaries. */
export const MAX_FORM_BYTES = MAX_IMAGE_BYTES + 1024 * 1024
/** Max bytes of a form up to its file. */
export const MAX_FIELDS_BYTES = MAX_FIELDS * (MAX_FIELD_BYTES + MAX_HEADER_BYTES)

interface Part {
  name: string
  isFile: boolean
  charset: string | null
  /** Null: the form was cut within this part. */
  body: Buffer | null
}

/**
 * @param contentType header of the request, which names the boundary
 * @param form the whole form, or its beginning
 * @param isWhole false: the file is not read to its end. The fields before it are
 */
export function parseMultipart(
  contentType: string,
  form: Buffer,
  isWhole: boolean,
): MultipartRequest | MultipartError {
  const parts = readParts(contentType, form)
  if (parts === null || (isWhole && parts.some(({ body }) => body === null))) return INVALID_FORM
  const [fields, files] = [parts.filter(({ isFile }) => !isFile), parts.filter(({ isFile }) => isFile)]
  if (fields.length > MAX_FIELDS || files.length > 1) return INVALID_FORM
  if (fields.some(({ body }) => body === null || body.length > MAX_FIELD_BYTES))
    return { status: 413, expected: `at most ${MAX_FIELD_BYTES} bytes a field` }
  const charsetError = fields.map(checkCharset).find(error => error !== null)
  if (charsetError) return charsetError

  const operations = fields.find(({ name }) => name === 'operations')?.body
  const map = parseMap(fields.find(({ name }) => name === 'map')?.body)
  if (!operations) return { status: 400, expected: 'a field operations of JSON, before its file' }
  if (map === null)
    return {
      status: 400,
      expected: 'a field map that names one file and one place, as in {"0": ["variables.file"]}',
    }
  const file = files.find(({ name }) => name === map.name)
  if (file === undefined && isWhole) return { status: 400, expected: 'the file that map names' }
  const data = isWhole && file?.body && file.body.length <= MAX_IMAGE_BYTES ? file.body : null
  return { operations, path: map.path, file: { read: () => data } }
}

const INVALID_FORM: MultipartError = {
  status: 400,
  expected: 'a form of the fields operations and map, and one file',
}

const UTF8_CHARSETS: ReadonlySet<string | null> = new Set([null, 'utf-8', 'utf8', 'us-ascii'])

const checkCharset = ({ charset, body }: Part): MultipartError | null =>
  !UTF8_CHARSETS.has(charset)
    ? { status: 415, expected: 'fields with charset=utf-8' }
    : body !== null && !isUtf8(body)
      ? { status: 400, expected: 'fields in valid UTF-8' }
      : null

/** Null: the form is malformed. The last part has no body if the form ends within it. */
function readParts(contentType: string, form: Buffer): Part[] | null {
  const [, quoted, token] = /;\s*boundary\s*=\s*(?:"([^"]*)"|([^\s;]*))/i.exec(contentType) ?? []
  const boundary = quoted ?? token ?? ''
  if (boundary === '' || boundary.length > MAX_BOUNDARY_CHARACTERS) return null
  const parts: Part[] = []
  let delimiter = findDelimiter(form, boundary, 0)
  while (delimiter !== null && !delimiter.isLast) {
    const headersEnd = form.indexOf('\r\n\r\n', delimiter.end - 2)
    // More parts than these are not looked at.
    if (headersEnd < 0 || headersEnd - delimiter.end > MAX_HEADER_BYTES || parts.length > MAX_FIELDS)
      return null
    const part = parseHeaders(form.toString('utf8', delimiter.end, headersEnd))
    if (part === null) return null
    const bodyStart = headersEnd + 4
    delimiter = findDelimiter(form, boundary, bodyStart - 2)
    parts.push({ ...part, body: delimiter && form.subarray(bodyStart, Math.max(delimiter.start, bodyStart)) })
  }
  // The close delimiter is missing, and no part says so.
  return delimiter === null && parts.length === 0 ? null : parts
}

interface Delimiter {
  /** Index of the line break before it, which belongs to it. */
  start: number
  /** Index behind its own line break. */
  end: number
  isLast: boolean
}

const [CR, LF, DASH, SPACE, TAB] = [0x0d, 0x0a, 0x2d, 0x20, 0x09]

/** The next line that consists of the boundary. */
function findDelimiter(form: Buffer, boundary: string, from: number): Delimiter | null {
  const text = Buffer.from(`--${boundary}`, 'latin1')
  const line = Buffer.concat([Buffer.from('\r\n'), text])
  // The first line of the form has no line break before it.
  const isFirstLine = from === 0 && form.subarray(0, text.length).equals(text)
  let start = isFirstLine ? 0 : form.indexOf(line, from)
  let end = start + (isFirstLine ? text : line).length
  while (start >= 0) {
    if (form[end] === DASH && form[end + 1] === DASH) return { start, end, isLast: true }
    while (form[end] === SPACE || form[end] === TAB) end++
    if (form[end] === CR && form[end + 1] === LF) return { start, end: end + 2, isLast: false }
    start = form.indexOf(line, end)
    end = start + line.length
  }
  return null
}

const PARAMETER = /;\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))\s*/gy

/** Null: a part without a name. */
function parseHeaders(text: string): Omit<Part, 'body'> | null {
  const headers = new Map<string, string>()
  for (const line of text.split('\r\n')) {
    const colon = line.indexOf(':')
    if (colon > 0) headers.set(line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim())
  }
  const disposition = headers.get('content-disposition') ?? ''
  const type = headers.get('content-type')?.toLowerCase() ?? ''
  if (!/^form-data\s*(?:;|$)/i.test(disposition)) return null
  const parameters = new Map<string, string>()
  for (const [, key, quoted, token] of disposition.slice('form-data'.length).trim().matchAll(PARAMETER))
    parameters.set(key!.toLowerCase(), quoted?.replace(/\\(.)/g, '$1') ?? token ?? '')
  const name = parameters.get('name')
  if (name === undefined || name.length > MAX_NAME_CHARACTERS) return null
  return {
    name,
    isFile: parameters.has('filename') || parameters.has('filename*') || type === 'application/octet-stream',
    charset: /;\s*charset\s*=\s*["']?([^\s"';]*)/.exec(type)?.[1] ?? null,
  }
}

function parseMap(text: Buffer | null | undefined): { name: string; path: string[] } | null {
  if (!text) return null
  let map: unknown
  try {
    map = JSON.parse(text.toString())
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
