/**
 * Reads the type of an image from its first bytes, and its width and height if these bytes contain them. Pure.
 * Invariant: it never throws. The signature alone decides the type, so a truncated header still has one.
 */
import { imageDimensionsFromData } from 'image-dimensions'

export const IMAGE_TYPES = ['image/jpeg', 'image/png', 'image/webp', 'image/bmp'] as const
export type ImageType = (typeof IMAGE_TYPES)[number]

export interface ImageHeader {
  type: ImageType
  /** Pixels as stored, before any rotation. Null: not in these bytes. */
  width: number | null
  height: number | null
}

/** Max image size: 25 MB, counted as MiB. A longer image is refused. */
export const MAX_IMAGE_BYTES = 25 * 1024 * 1024

export function parseImageHeader(head: Uint8Array): ImageHeader | null {
  const type = detectType(head)
  if (type === null) return null
  const dimensions = type === 'image/bmp' ? bitmapDimensions(head) : imageDimensionsFromData(head)
  // 0 means that the header leaves it open: a JPEG may have its height at the end of the file.
  return { type, width: dimensions?.width || null, height: dimensions?.height || null }
}

function detectType(head: Uint8Array): ImageType | null {
  const text = String.fromCharCode(...head.subarray(0, 12))
  if (text.startsWith('\xff\xd8\xff')) return 'image/jpeg'
  if (text.startsWith('\x89PNG\r\n\x1a\n')) return 'image/png'
  if (/^RIFF.{4}WEBP/s.test(text)) return 'image/webp'
  // The two letters alone would match many texts.
  if (text.startsWith('BM') && BITMAP_HEADER_BYTES.has(bitmapHeaderBytes(head))) return 'image/bmp'
  return null
}

/** The oldest header has 12 bytes and 16-bit dimensions, all others 32-bit ones. A negative height means top-down rows. */
const FIRST_BITMAP_HEADER_BYTES = 12
const BITMAP_HEADER_BYTES: ReadonlySet<number> = new Set([
  FIRST_BITMAP_HEADER_BYTES,
  16,
  40,
  52,
  56,
  64,
  108,
  124,
])

const dataView = (head: Uint8Array) => new DataView(head.buffer, head.byteOffset, head.byteLength)
const bitmapHeaderBytes = (head: Uint8Array) => (head.length < 18 ? 0 : dataView(head).getUint32(14, true))

function bitmapDimensions(head: Uint8Array): { width: number; height: number } | null {
  if (head.length < 26) return null
  const bytes = dataView(head)
  if (bitmapHeaderBytes(head) === FIRST_BITMAP_HEADER_BYTES)
    return { width: bytes.getUint16(18, true), height: bytes.getUint16(20, true) }
  return { width: Math.max(bytes.getInt32(18, true), 0), height: Math.abs(bytes.getInt32(22, true)) }
}
