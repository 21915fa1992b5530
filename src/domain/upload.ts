/**
 * An image that an app has uploaded: kept for seven days, or as long as a job that waits needs it.
 * The same bytes are one upload to everybody who may see it, and are kept once an app.
 */
import type { ImageType } from './image-format.ts'
import type { AppId } from './prediction.ts'

/** Kept once an app. */
export interface Image {
  appId: AppId
  /** SHA-256 of its bytes, hex. */
  hash: string
  contentType: ImageType
  width: number
  height: number
  bytes: number
}

export interface Upload extends Image {
  id: string
  /** Of the restricted token that uploaded it, else empty: see scope.ts. */
  space: string
  /** Whoever has it may look at the image. */
  address: string
  expiresAt: number
}

export const UPLOAD_LIFE_MS = 7 * 24 * 60 * 60 * 1000
