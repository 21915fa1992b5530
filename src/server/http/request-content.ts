/**
 * The content of a POST to the API: its headers are judged before the body is read, its bytes before they are parsed.
 * Invariant: an operation is text in UTF-8. Broken text would be charged with U+FFFD in its place.
 */
import { isUtf8 } from 'node:buffer'
import type { IncomingHttpHeaders } from 'node:http'
import { GraphQLError } from 'graphql'
import { badArgument } from '../../graphql/request-errors.ts'
import { type ErrorResponse, rateLimitedResponse } from '../responses/error-response.ts'

/** The bytes of an operation, without a byte order mark. */
export interface RequestContent {
  mediaType: string
  bytes: Buffer
}

export interface ContentType {
  /** Lower case, without parameters. */
  mediaType: string
  /** Lower case. Null: not given. */
  charset: string | null
}

export const JSON_MEDIA_TYPE = 'application/json'
const FORM_MEDIA_TYPE = 'application/x-www-form-urlencoded'
const OPERATION_MEDIA_TYPES: readonly string[] = [
  JSON_MEDIA_TYPE,
  'application/graphql+json',
  FORM_MEDIA_TYPE,
  'application/graphql',
]
/** ASCII is a part of UTF-8. */
const UTF8_CHARSETS: ReadonlySet<string | null> = new Set([null, 'utf-8', 'utf8', 'us-ascii'])
const RETRY_AFTER_MS = 1000

export function parseContentType(headers: IncomingHttpHeaders): ContentType {
  const header = headers['content-type'] ?? ''
  // A list of types is not valid. Some clients send one all the same.
  const mediaType = header.split(/[;,]/, 1)[0]!.trim().toLowerCase()
  const charset = /;\s*charset\s*=\s*["']?([^\s"';,]*)/i.exec(header)?.[1]?.toLowerCase() ?? null
  return { mediaType, charset }
}

/** Null: a body with these headers can be read. */
export function judgeHeaders(
  headers: IncomingHttpHeaders,
  mediaTypes: readonly string[] = OPERATION_MEDIA_TYPES,
): ErrorResponse | null {
  const encoding = headers['content-encoding']?.trim().toLowerCase() ?? ''
  if (encoding !== '' && encoding !== 'identity')
    return {
      status: 415,
      error: badArgument('Content-Encoding', 'identity; a compressed body is not read'),
      headers: { 'accept-encoding': 'identity' },
    }
  const { mediaType, charset } = parseContentType(headers)
  if (!mediaTypes.includes(mediaType))
    return { status: 415, error: badArgument('Content-Type', mediaTypes.join(', ')) }
  if (!UTF8_CHARSETS.has(charset)) return { status: 415, error: badArgument('Content-Type', 'charset=utf-8') }
  return null
}

/** Null: the bytes are text in UTF-8. */
export function judgeText(bytes: Buffer, mediaType: string): ErrorResponse | null {
  const isText = isUtf8(bytes) && (mediaType !== FORM_MEDIA_TYPE || isUtf8(percentDecoded(bytes)))
  return isText ? null : { status: 400, error: badArgument('body', 'valid UTF-8') }
}

export const withoutByteOrderMark = (bytes: Buffer): Buffer =>
  bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? bytes.subarray(3) : bytes

/**
 * The response to a body that was not read to its end.
 * @param rate the rate that a body needs to have
 */
export const toBodyError = (
  { kind }: { kind: 'too large' | 'too slow' | 'over share' },
  rate = 'a faster client',
): ErrorResponse =>
  kind === 'too large'
    ? BODY_TOO_LARGE
    : kind === 'too slow'
      ? { status: 408, error: badArgument('body', rate) }
      : rateLimitedResponse(RETRY_AFTER_MS)

export const BODY_TOO_LARGE: ErrorResponse = {
  status: 413,
  error: new GraphQLError('Request body too large', { extensions: { code: 'REQUEST_ENTITY_TOO_LARGE' } }),
}

/** The bytes that a URL-encoded form stands for. */
function percentDecoded(bytes: Buffer): Buffer {
  if (!bytes.includes('%')) return bytes
  const decoded = Buffer.allocUnsafe(bytes.length)
  let size = 0
  for (let i = 0; i < bytes.length; i++) {
    const [high, low] = bytes[i] === PERCENT ? [hexDigit(bytes[i + 1]), hexDigit(bytes[i + 2])] : [-1, -1]
    const isEscape = high >= 0 && low >= 0
    decoded[size++] = isEscape ? high * 16 + low : bytes[i]!
    if (isEscape) i += 2
  }
  return decoded.subarray(0, size)
}

const PERCENT = 0x25

/** -1: not a digit. */
function hexDigit(code = 0): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30
  const letter = (code | 0x20) - 0x61
  return letter >= 0 && letter < 6 ? letter + 10 : -1
}
