/**
 * An image that an app has uploaded. It is kept for seven days, and longer while an unfinished job uses it.
 * Invariant: the same bytes under the same restriction are one upload, and their image is stored once per app.
 */
import { randomBytes } from 'node:crypto'
import type { ImageType } from './image-format.ts'
import type { AppId } from './prediction.ts'
import { DAY_MS, HOUR_MS } from './time.ts'

/** Stored once per app. */
export interface UploadedImage {
  appId: AppId
  /** SHA-256 of the bytes, hex. */
  hash: string
  contentType: ImageType
  width: number
  height: number
  bytes: number
}

export interface Upload extends UploadedImage {
  id: string
  /** Key of the restriction of the token that uploaded it, else empty: see access-scope.ts. */
  restrictionKey: string
  /** Token in the preview URL. Anyone who has it can see the image. */
  previewToken: string
  expiresAt: number
}

export const UPLOAD_RETENTION_MS = 7 * DAY_MS

/** An image that is still incomplete after this time was interrupted by a crash: its bytes are deleted. */
export const ABANDONED_AFTER_MS = HOUR_MS

export const UPLOAD_PATH = '/uploads/'
const PREVIEW_TOKEN_PATTERN = /^[\w-]{24}$/

/** 144 random bits: it cannot be guessed, and it contains nothing of the image or its app. */
export const createPreviewToken = (): string => randomBytes(18).toString('base64url')

export const previewPath = (previewToken: string): string => `${UPLOAD_PATH}${previewToken}`

/** Null if the path is not a preview path. */
export function parsePreviewPath(path: string): string | null {
  const previewToken = path.slice(UPLOAD_PATH.length)
  return path.startsWith(UPLOAD_PATH) && PREVIEW_TOKEN_PATTERN.test(previewToken) ? previewToken : null
}
