/**
 * Deletes uploads that have expired and images that no upload refers to, one small step at a time.
 * Invariant: an upload that a waiting or running job needs is kept, and so is its image.
 */
import { ABANDONED_AFTER_MS } from '../../domain/upload.ts'
import type { Db, Tx } from './connection.ts'
import { and, eq, inArray, isNotNull, lte, or, type SQL, sql } from './drizzle.ts'
import { HAS_UPLOAD, INCOMPLETE } from './predicates.ts'
import { imageChunks, images, uploads } from './schema.ts'

/** The rows of an uploaded image: one in `images`, and one for each chunk and each upload of it. */
const isImage = (
  table: typeof images | typeof uploads | typeof imageChunks,
  appId: string,
  hash: string,
): SQL | undefined => and(eq(table.appId, appId), eq(table.hash, hash))

/** Max uploads, or chunks, in a step: about 3 ms. */
const MAX_UPLOADS_PER_STEP = 100
const MAX_CHUNKS_PER_STEP = 4

/** Runs one step. False if nothing was left to delete. */
export const pruneStep = (db: Db, now: number): boolean =>
  db.transaction(tx => deleteExpiredUploads(tx, now) || deleteChunksOfIncompleteImage(tx, now), {
    behavior: 'immediate',
  })

function deleteExpiredUploads(tx: Tx, now: number): boolean {
  const isNeeded = sql`exists (
    select 1 from predictions
    where upload_id = uploads.id and ${HAS_UPLOAD} and status in ('QUEUED', 'CREATED', 'PROCESSING')
  )`
  const expired = tx
    .select({ id: uploads.id })
    .from(uploads)
    .where(and(lte(uploads.expiresAt, now), sql`not ${isNeeded}`))
    .limit(MAX_UPLOADS_PER_STEP)
  const deleted = tx.delete(uploads).where(inArray(uploads.id, expired)).returning().all()
  for (const { appId, hash } of deleted)
    if (
      tx
        .select()
        .from(uploads)
        .where(isImage(uploads, appId, hash))
        .limit(1)
        .get() === undefined
    )
      tx.update(images)
        .set({ isComplete: false, deleteRequestedAt: now })
        .where(isImage(images, appId, hash))
        .run()
  return deleted.length > 0
}

function deleteChunksOfIncompleteImage(tx: Tx, now: number): boolean {
  const image = tx
    .select()
    .from(images)
    .where(and(INCOMPLETE, isToBeDeleted(now)))
    .limit(1)
    .get()
  if (image === undefined) return false
  const { appId, hash } = image
  const chunks = tx
    .select({ chunkIndex: imageChunks.chunkIndex })
    .from(imageChunks)
    .where(isImage(imageChunks, appId, hash))
    .limit(MAX_CHUNKS_PER_STEP)
    .all()
  const chunkIndexes = chunks.map(({ chunkIndex }) => chunkIndex)
  tx.delete(imageChunks)
    .where(and(isImage(imageChunks, appId, hash), inArray(imageChunks.chunkIndex, chunkIndexes)))
    .run()
  if (chunks.length < MAX_CHUNKS_PER_STEP)
    tx.delete(images)
      .where(isImage(images, appId, hash))
      .run()
  return true
}

/** Deletion was requested, or the write was cut off by a crash. */
const isToBeDeleted = (now: number): SQL | undefined =>
  or(isNotNull(images.deleteRequestedAt), lte(images.writeStartedAt, now - ABANDONED_AFTER_MS))
