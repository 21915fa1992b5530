/**
 * Uploads in SQLite: what an app keeps, who of it sees it, and how it goes again.
 * Invariant: an image is whole before an upload names it, and stays so until none does. Its bytes are written, read and
 * taken away in parts, each in a moment of its own: 25 MB at once hold the process for 100 ms, a part for 1, and for 10
 * where it is SQLite's turn to tidy its log (measured).
 */
import { setImmediate } from 'node:timers/promises'
import { v7 as uuidv7 } from 'uuid'
import { restrictionKeyOf } from '../../domain/access-scope.ts'
import type { AppId } from '../../domain/prediction.ts'
import {
  createPreviewToken,
  UPLOAD_RETENTION_MS,
  type Upload,
  type UploadedImage,
} from '../../domain/upload.ts'
import type { UploadResult, UploadStore } from '../store.ts'
import type { Db, Tx } from './connection.ts'
import { and, asc, eq, inArray, isNotNull, lte, ne, or, type SQL, sql } from './drizzle.ts'
import { HAS_UPLOAD, INCOMPLETE } from './predicates.ts'
import { jsonValues, prepare } from './prepare.ts'
import { imageChunks, images, uploads } from './schema.ts'

/** Read while somebody waits, so little; and not so little that an image is hundreds of rows. */
const CHUNK_BYTES = 256 * 1024
/** An image counts for no less: a row has its price, too. */
const MIN_COUNTED_BYTES = 64 * 1024
/** Bytes of an upload that was cut off by a crash are let go of after so long. */
const ABANDONED_AFTER_MS = 60 * 60 * 1000
/** A pruning step takes so many uploads, or so many parts: some 3 ms. */
const MAX_UPLOADS_PER_STEP = 100
const MAX_CHUNKS_PER_STEP = 4
/** Until what has expired was pruned. */
const PRUNE_DELAY_MS = 30_000

export function createUploadStore(db: Db): UploadStore {
  const selectChunk = db
    .select({ data: imageChunks.data })
    .from(imageChunks)
    .where(
      and(
        eq(imageChunks.appId, sql.placeholder('appId')),
        eq(imageChunks.hash, sql.placeholder('hash')),
        eq(imageChunks.chunkIndex, sql.placeholder('index')),
      ),
    )
    .prepare()
  const selectUploads = (condition: SQL) =>
    prepare<Upload>(
      db,
      sql`
      select uploads.id, uploads.restriction_key as restrictionKey,
        uploads.preview_token as previewToken, uploads.expires_at as expiresAt, images.app_id as appId,
        images.hash, images.content_type as contentType, images.width, images.height, images.bytes
      from uploads join images on images.app_id = uploads.app_id and images.hash = uploads.hash
      where ${condition}`,
    )
  const byId = selectUploads(sql`
    uploads.id in ${jsonValues('@ids')} and uploads.expires_at > @now
      and uploads.app_id = @appId and (@restrictionKey is null or uploads.restriction_key = @restrictionKey)`)
  const byPreviewToken = selectUploads(sql`uploads.preview_token = @previewToken`)

  /** Its bytes may be written: they are counted from now on. */
  function reserve(
    tx: Tx,
    image: UploadedImage,
    maxUploadBytesPerApp: number,
    now: number,
  ): UploadResult | null {
    const retryAfterMs = msUntilItFits(tx, image, maxUploadBytesPerApp, now)
    if (retryAfterMs !== null) return { kind: 'refused', retryAfterMs }
    tx.insert(images)
      .values({ ...image, isComplete: false, writeStartedAt: now })
      .onConflictDoUpdate({
        target: [images.appId, images.hash],
        set: { writeStartedAt: now, deleteRequestedAt: null },
      })
      .run()
    return null
  }

  function upsertUpload(tx: Tx, image: UploadedImage, restrictionKey: string, now: number): UploadResult {
    const expiresAt = now + UPLOAD_RETENTION_MS
    const { appId, hash } = image
    const row = tx
      .insert(uploads)
      .values({
        id: uuidv7(),
        appId,
        restrictionKey,
        hash,
        previewToken: createPreviewToken(),
        createdAt: now,
        expiresAt,
      })
      .onConflictDoUpdate({
        target: [uploads.appId, uploads.restrictionKey, uploads.hash],
        set: { expiresAt },
      })
      .returning()
      .get()
    return { kind: 'kept', upload: toUpload(row, image) }
  }

  function deleteExpiredUploads(tx: Tx, now: number): boolean {
    const isNeeded = sql`exists (select 1 from predictions where upload_id = uploads.id and ${HAS_UPLOAD} and status in ('QUEUED', 'CREATED', 'PROCESSING'))`
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

  function deleteIncompleteImage(tx: Tx, now: number): boolean {
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

  return {
    async saveUpload({ image, restrictionKey, data }, maxUploadBytesPerApp, now) {
      const { appId, hash } = image
      const result = db.transaction(
        tx => {
          const isCompleteImage = and(isImage(images, appId, hash), eq(images.isComplete, true))
          if (tx.select().from(images).where(isCompleteImage).get() !== undefined)
            return upsertUpload(tx, image, restrictionKey, now)
          return reserve(tx, image, maxUploadBytesPerApp, now)
        },
        { behavior: 'immediate' },
      )
      if (result !== null) return result
      for (let chunkIndex = 0; chunkIndex * CHUNK_BYTES < data.length; chunkIndex++) {
        const chunk = data.subarray(chunkIndex * CHUNK_BYTES, (chunkIndex + 1) * CHUNK_BYTES)
        db.insert(imageChunks).values({ appId, hash, chunkIndex, data: chunk }).onConflictDoNothing().run()
        await setImmediate()
      }
      return db.transaction(
        tx => {
          tx.update(images)
            .set({ isComplete: true, deleteRequestedAt: null })
            .where(isImage(images, appId, hash))
            .run()
          return upsertUpload(tx, image, restrictionKey, now)
        },
        { behavior: 'immediate' },
      )
    },

    async getUploads(scope, ids, now) {
      const { appId, restriction } = scope
      const restrictionKey = restriction && restrictionKeyOf(scope)
      const rows = byId.all({ appId, restrictionKey, ids: JSON.stringify(ids), now })
      const found = new Map(rows.map(upload => [upload.id, upload]))
      return ids.map(id => found.get(id) ?? null)
    },

    uploadByPreviewToken: async previewToken => byPreviewToken.get({ previewToken }) ?? null,

    async imageByUploadId(uploadId, now) {
      const row = db
        .select({ image: images })
        .from(uploads)
        .innerJoin(images, and(eq(images.appId, uploads.appId), eq(images.hash, uploads.hash)))
        .where(eq(uploads.id, uploadId))
        .get()
      if (row === undefined) return null
      const { upstreamUrl, upstreamUrlExpiresAt } = row.image
      return { ...toImage(row.image), upstreamUrl: (upstreamUrlExpiresAt ?? 0) > now ? upstreamUrl : null }
    },

    imageChunk: async ({ appId, hash }, index) => selectChunk.get({ appId, hash, index })?.data ?? null,

    async setUpstreamUrl({ appId, hash }, upstreamUrl, upstreamUrlExpiresAt) {
      db.update(images)
        .set({ upstreamUrl, upstreamUrlExpiresAt })
        .where(isImage(images, appId, hash))
        .run()
    },

    pruneUploads: async now =>
      db.transaction(tx => deleteExpiredUploads(tx, now) || deleteIncompleteImage(tx, now), {
        behavior: 'immediate',
      }),
  }
}

/** When it would fit, ms from now; null: it does now. */
function msUntilItFits(
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

/** Deletion was requested, or the write was cut off by a crash. */
const isToBeDeleted = (now: number): SQL | undefined =>
  or(isNotNull(images.deleteRequestedAt), lte(images.writeStartedAt, now - ABANDONED_AFTER_MS))

const isImage = (
  table: typeof images | typeof uploads | typeof imageChunks,
  appId: string,
  hash: string,
): SQL | undefined => and(eq(table.appId, appId), eq(table.hash, hash))

const toImage = (row: typeof images.$inferSelect): UploadedImage => ({
  appId: row.appId as AppId,
  hash: row.hash,
  contentType: row.contentType,
  width: row.width,
  height: row.height,
  bytes: row.bytes,
})

const toUpload = (
  row: typeof uploads.$inferSelect,
  image: UploadedImage | typeof images.$inferSelect,
): Upload => ({
  ...toImage(image as typeof images.$inferSelect),
  id: row.id,
  restrictionKey: row.restrictionKey,
  previewToken: row.previewToken,
  expiresAt: row.expiresAt,
})
