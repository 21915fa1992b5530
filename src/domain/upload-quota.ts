/**
 * Whether one more image fits into the bytes that an app may store in uploads. Pure.
 * Invariant: the image itself is not counted among the stored ones, because storing the same bytes again takes no space.
 */
import { missingFact } from './plan.ts'
import { ABANDONED_AFTER_MS } from './upload.ts'

/** Each image counts for at least these bytes, because its row has a cost too. */
export const MIN_COUNTED_BYTES = 64 * 1024
/** Added to the wait: the janitor needs some time to delete what has expired. */
const PRUNE_DELAY_MS = 30_000

export interface QuotaRequest {
  /** Bytes of the new image. */
  bytes: number
  maxUploadBytesPerApp: number
  now: number
}

/** A fact that was not needed is missing. */
export interface QuotaFacts {
  /** Bytes of the app's other images, each at least `MIN_COUNTED_BYTES`. */
  storedBytes: number
  /** The app's other images. */
  images?: readonly QuotaImage[]
}

export interface QuotaImage {
  bytes: number
  /** When the last upload of the image expires; null without an upload. */
  uploadExpiresAt: number | null
  deleteRequestedAt: number | null
  writeStartedAt: number
}

export const quotaImagesNeeded = (request: QuotaRequest, storedBytes: number): boolean =>
  excessBytes(request, storedBytes) > 0

/**
 * Null if the image fits now. Otherwise the ms until enough of the app's images have ended to make room.
 */
export function quotaRetryAfterMs(request: QuotaRequest, facts: QuotaFacts): number | null {
  let excess = excessBytes(request, facts.storedBytes)
  if (excess <= 0) return null
  const { now } = request
  const images = (facts.images ?? missingFact('images')).toSorted((a, b) => endOf(a) - endOf(b))
  let lastEnd = now
  for (const image of images) {
    if (excess <= 0) break
    excess -= countedBytes(image.bytes)
    lastEnd = endOf(image)
  }
  return Math.max(lastEnd - now, 0) + PRUNE_DELAY_MS
}

const countedBytes = (bytes: number): number => Math.max(bytes, MIN_COUNTED_BYTES)

const excessBytes = ({ bytes, maxUploadBytesPerApp }: QuotaRequest, storedBytes: number): number =>
  storedBytes + countedBytes(bytes) - maxUploadBytesPerApp

/** When its last upload expires, when its deletion was requested, or when its interrupted write is given up. */
const endOf = ({ uploadExpiresAt, deleteRequestedAt, writeStartedAt }: QuotaImage): number =>
  uploadExpiresAt ?? deleteRequestedAt ?? writeStartedAt + ABANDONED_AFTER_MS
