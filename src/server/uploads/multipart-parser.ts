/**
 * A GraphQL multipart request, read: its operation, the one place its file is for, and the file.
 * Invariant: nothing of it takes more memory than its limits say, and whatever is not of this form is a fault with a
 * status of its own; no name in it makes or changes anything but the null that the file replaces.
 */
import { Readable } from 'node:stream'
import { setTimeout } from 'node:timers/promises'
import type { FetchAPI, GraphQLParams } from 'graphql-yoga'
import { MOST_IMAGE_BYTES } from '../../domain/image-format.ts'
import type { FormFile } from '../../graphql/upload-file.ts'

export interface Form {
  /** JSON, not yet looked at. */
  operations: string
  /** Of the null in it. */
  path: string[]
  file: FormFile
}

export interface FormFault {
  status: 400 | 408 | 413
  fault: string
}

/** Of `operations`, and of `map`. */
const MOST_FIELD_BYTES = 256 * 1024
const LIMITS = {
  fieldNameSize: 100,
  fieldSize: MOST_FIELD_BYTES,
  fields: 2,
  files: 1,
  parts: 3,
  headerPairs: 20,
  headerSize: 8 * 1024,
}
/** With what stands between the parts. */
const MOST_FORM_BYTES = MOST_IMAGE_BYTES + 1024 * 1024

/** Of whatwg-node's requests; the DOM's has no limits. */
type Limited = Request & { formData(options: { formDataLimits: object }): Promise<FormData> }

/** @param isWanted otherwise what comes before the file is read, and no more */
export async function readForm(
  request: Request,
  { Request }: FetchAPI,
  isWanted: boolean,
): Promise<Form | FormFault> {
  const body = Readable.from(counted(request.body as unknown as AsyncIterable<Uint8Array>))
  const { method, headers, signal } = request
  const isBound = Number(headers.get('content-length')) <= MOST_FORM_BYTES
  const formDataLimits = { ...LIMITS, fileSize: isWanted && isBound ? MOST_IMAGE_BYTES : 0 }
  const init = { method, headers, signal, body, duplex: 'half' } as unknown as RequestInit
  const limited = new Request(request.url, init) as Limited
  let isTooLarge = false
  try {
    await limited.formData({ formDataLimits })
  } catch (error) {
    const { message } = error as Error
    isTooLarge = message.startsWith('File size limit exceeded')
    if (!isTooLarge) return faultIn(message)
  }
  // What came before the file's end is there, as it comes first.
  return formOf(await limited.formData({ formDataLimits }), isTooLarge)
}

/** It may have a pause, and no more: a body that dribbles keeps others from their berths. */
const PAUSE_MS = 10_000
const LEAST_BYTES_A_SECOND = 16 * 1024

async function* counted(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const chunks = body[Symbol.asyncIterator]()
  const begun = performance.now()
  for (let size = 0; ; ) {
    const leftMs = begun + PAUSE_MS + (size / LEAST_BYTES_A_SECOND) * 1000 - performance.now()
    const timer = new AbortController()
    const late = setTimeout(Math.max(leftMs, 0), null, { signal: timer.signal, ref: false })
    const next = await Promise.race([chunks.next(), late])
    timer.abort()
    late.catch(() => {})
    if (next === null) throw new Error(TOO_SLOW)
    if (next.done) return
    size += next.value.length
    if (size > MOST_FORM_BYTES) throw new Error('Request size limit exceeded')
    yield next.value
  }
}

const TOO_SLOW = 'Request too slow'

function faultIn(message: string): FormFault {
  if (message === TOO_SLOW)
    return { status: 408, fault: `a form at ${LEAST_BYTES_A_SECOND} bytes a second or more` }
  return /^(Field value|Request) size limit|^Field value size/.test(message)
    ? { status: 413, fault: `at most ${MOST_FIELD_BYTES} bytes a field` }
    : { status: 400, fault: 'a form of the fields operations and map, and one file' }
}

async function formOf(form: FormData, isTooLarge: boolean): Promise<Form | FormFault> {
  const operations = form.get('operations')
  const map = readMap(form.get('map'))
  if (typeof operations !== 'string')
    return { status: 400, fault: 'a field operations of JSON, before its file' }
  if (map === null)
    return {
      status: 400,
      fault: 'a field map that names one file and one place, as in {"0": ["variables.file"]}',
    }
  const file = isTooLarge ? null : form.get(map.name)
  if (typeof file === 'string' || (file === null && !isTooLarge))
    return { status: 400, fault: 'the file that map names' }
  const bytes = file && (await (file as unknown as Blob).bytes())
  const data = bytes && Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return { operations, path: map.path, file: { read: () => data } }
}

function readMap(text: FormDataEntryValue | null): { name: string; path: string[] } | null {
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
  const [name, places] = entry
  if (!Array.isArray(places) || places.length !== 1 || typeof places[0] !== 'string') return null
  return { name, path: places[0].split('.') }
}

/** Whether there was a null at its place. */
export function placeFile(params: GraphQLParams, { path, file }: Pick<Form, 'path' | 'file'>): boolean {
  let at: unknown = params
  for (const [i, key] of path.entries()) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, key)) return false
    const within = at as Record<string, unknown>
    if (i === path.length - 1 && i > 0 && within[key] === null) {
      Object.defineProperty(within, key, { value: file, enumerable: true })
      return path[0] === 'variables'
    }
    at = within[key]
  }
  return false
}
