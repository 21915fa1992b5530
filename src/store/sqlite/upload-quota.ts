/**
 * Loads the facts of an app's upload quota: what it stores already.
 * Invariant: they are loaded in the transaction that reserves space for the image, so concurrent uploads can't exceed
 * the maximum.
 */
import type { UploadedImage } from '../../domain/upload.ts'
import {
  MIN_COUNTED_BYTES,
  type QuotaFacts,
  type QuotaRequest,
  quotaImagesNeeded,
} from '../../domain/upload-quota.ts'
import type { Tx } from './connection.ts'
import { and, eq, ne, sql } from './drizzle.ts'
import { images, uploads } from './schema.ts'

export function loadQuotaFacts(
  tx: Tx,
  { appId, hash }: Pick<UploadedImage, 'appId' | 'hash'>,
  request: QuotaRequest,
): QuotaFacts {
  const isOther = and(eq(images.appId, appId), ne(images.hash, hash))
  const storedBytes = tx
    .select({ sum: sql<number>`coalesce(sum(max(${images.bytes}, ${MIN_COUNTED_BYTES})), 0)` })
    .from(images)
    .where(isOther)
    .get()!.sum
  if (!quotaImagesNeeded(request, storedBytes)) return { storedBytes }
  const others = tx
    .select({
      bytes: images.bytes,
      uploadExpiresAt: sql<number | null>`max(${uploads.expiresAt})`,
      deleteRequestedAt: images.deleteRequestedAt,
      writeStartedAt: images.writeStartedAt,
    })
    .from(images)
    .leftJoin(uploads, and(eq(uploads.appId, images.appId), eq(uploads.hash, images.hash)))
    .where(isOther)
    .groupBy(images.hash)
    .all()
  return { storedBytes, images: others }
}
