/**
 * An image that an app has uploaded: kept for seven days, or as long as a job that waits needs it.
 * The same bytes are one upload to everybody who may see it, and are kept once an app.
 */
import { randomBytes } from 'node:crypto'
import type { ImageType } from './image-format.ts'
import type { AppId } from './prediction.ts'

/** Kept once an app. */
export interface UploadedImage {
  appId: AppId
  /** SHA-256 of its bytes, hex. */
  hash: string
  contentType: ImageType
  width: number
  height: number
  bytes: number
}

export interface Upload extends UploadedImage {
  id: string
  /** Of the restricted token that uploaded it, else empty: see scope.ts. */
  restrictionKey: string
  /** Whoever has it may look at the image. */
  previewToken: string
  expiresAt: number
}

export const UPLOAD_RETENTION_MS = 7 * 24 * 60 * 60 * 1000

export const UPLOAD_PATH = '/uploads/'
const PREVIEW_TOKEN_PATTERN = /^[\w-]{24}$/

/** 144 bits of chance: it can't be guessed, and nothing of the image or of its app is in it. */
export const createPreviewToken = (): string => randomBytes(18).toString('base64url')

export const previewPath = (previewToken: string): string => `${UPLOAD_PATH}${previewToken}`

/** Null for a path that is none of ours. */
export function parsePreviewPath(path: string): string | null {
  const previewToken = path.slice(UPLOAD_PATH.length)
  return path.startsWith(UPLOAD_PATH) && PREVIEW_TOKEN_PATTERN.test(previewToken) ? previewToken : null
}
