/**
 * Checks whether one more image fits into the bytes that an app may store in uploads.
 * Invariant: the stored bytes are counted in the transaction that reserves space for the image, so concurrent uploads
 * can't exceed the maximum.
 */
import type { UploadedImage } from '../../domain/upload.ts'
import type { Tx } from './connection.ts'
import { and, asc, eq, ne, sql } from './drizzle.ts'
import { ABANDONED_AFTER_MS } from './image-rows.ts'
import { images, uploads } from './schema.ts'

/** Each image counts for at least these bytes, because its row has a cost too. */
const MIN_COUNTED_BYTES = 64 * 1024
/** Added to the wait: the janitor needs some time to delete what has expired. */
const PRUNE_DELAY_MS = 30_000

/**
 * Null if the image fits now. Otherwise the ms until it fits: until so many of the app's images have ended that their
 * bytes suffice. An image ends when its last upload expires, when its deletion is requested, or when its interrupted
 * write is given up. The image itself is not counted: storing the same bytes again takes no space.
 */
export function quotaRetryAfterMs(
  tx: Tx,
  { appId, hash, bytes }: UploadedImage,
  maxUploadBytesPerApp: number,
  now: number,
): number | null {
  const countedBytes = (size: number) => Math.max(size, MIN_COUNTED_BYTES)
  const used = tx
    .select({ sum: sql<number>`coalesce(sum(max(${images.bytes}, ${MIN_COUNTED_BYTES})), 0)` })
    .from(images)
    .where(and(eq(images.appId, appId), ne(images.hash, hash)))
    .get()!.sum
  let excessBytes = used + countedBytes(bytes) - maxUploadBytesPerApp
  if (excessBytes <= 0) return null
  const end = sql<number>`coalesce(
    max(${uploads.expiresAt}), ${images.deleteRequestedAt}, ${images.writeStartedAt} + ${ABANDONED_AFTER_MS}
  )`
  const ends = tx
    .select({ size: images.bytes, end })
    .from(images)
    .leftJoin(uploads, and(eq(uploads.appId, images.appId), eq(uploads.hash, images.hash)))
    .where(and(eq(images.appId, appId), ne(images.hash, hash)))
    .groupBy(images.hash)
    .orderBy(asc(end))
    .all()
  let lastExpiresAt = now
  for (const { size, end } of ends) {
    if (excessBytes <= 0) break
    excessBytes -= countedBytes(size)
    lastExpiresAt = end
  }
  return Math.max(lastExpiresAt - now, 0) + PRUNE_DELAY_MS
}
