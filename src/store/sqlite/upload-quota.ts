/**
 * The bytes an app may store in uploads.
 * Invariant: they are counted in the transaction that reserves them, so concurrent uploads can't exceed the maximum.
 */
import type { UploadedImage } from '../../domain/upload.ts'
import type { Tx } from './connection.ts'
import { and, asc, eq, ne, sql } from './drizzle.ts'
import { ABANDONED_AFTER_MS } from './image-rows.ts'
import { images, uploads } from './schema.ts'

/** Min bytes an image counts for: a row has its cost too. */
const MIN_COUNTED_BYTES = 64 * 1024
/** Time until expired uploads are pruned. */
const PRUNE_DELAY_MS = 30_000

/** Ms until the image would fit; null: it fits now. */
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
