/**
 * Stores and reads uploads and the bytes of their images.
 * Invariant: an image is complete before an upload refers to it, and stays so until none does. Bytes are written,
 * read and deleted in chunks, each in a transaction of its own: 25 MB at once block the process for 100 ms, a chunk
 * for 1, and for 10 during a WAL checkpoint (measured).
 */
import { setImmediate } from 'node:timers/promises'
import { v7 as uuidv7 } from 'uuid'
import type { AppId } from '../../domain/prediction.ts'
import {
  createPreviewToken,
  UPLOAD_RETENTION_MS,
  type Upload,
  type UploadedImage,
} from '../../domain/upload.ts'
import {
  MIN_COUNTED_BYTES,
  type QuotaFacts,
  type QuotaRequest,
  quotaImagesNeeded,
  quotaRetryAfterMs,
} from '../../domain/upload-quota.ts'
import type { NewUpload, UploadResult, UploadStore } from '../store.ts'
import type { Db, Tx } from './connection.ts'
import { and, eq, ne, type SQL, sql } from './drizzle.ts'
import { jsonValues, prepare } from './prepare.ts'
import { imageChunks, images, uploads } from './schema.ts'
import { pruneStep } from './upload-pruning.ts'
import { createWriteGate, type WriteGate } from './write-gate.ts'

/** Small, because each read blocks; large enough that an image is not hundreds of rows. */
const CHUNK_BYTES = 256 * 1024

export function createUploadStore(db: Db, gate: WriteGate = createWriteGate()): UploadStore {
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
  const hasCompleteImage = prepare<1>(
    db,
    sql`select 1 from images where app_id = @appId and hash = @hash and is_complete`,
  ).pluck()
  const completeImage = prepare(
    db,
    sql`update images set is_complete = 1, delete_requested_at = null where app_id = @appId and hash = @hash`,
  )
  const setUpstreamUrl = prepare(
    db,
    sql`update images set upstream_url = @url, upstream_url_expires_at = @expiresAt
      where app_id = @appId and hash = @hash`,
  )
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

  /** Reserves space: the bytes of the image count from now on. */
  function reserve(
    tx: Tx,
    image: UploadedImage,
    maxUploadBytesPerApp: number,
    now: number,
  ): UploadResult | null {
    const request = { bytes: image.bytes, maxUploadBytesPerApp, now }
    const retryAfterMs = quotaRetryAfterMs(request, loadQuotaFacts(tx, image, request))
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

  async function saveUpload(
    { image, restrictionKey, data }: NewUpload,
    maxUploadBytesPerApp: number,
    now: number,
  ): Promise<UploadResult> {
    const { appId, hash } = image
    const result = db.transaction(
      tx => {
        if (hasCompleteImage.get({ appId, hash }) === undefined)
          return reserve(tx, image, maxUploadBytesPerApp, now)
        return upsertUpload(tx, image, restrictionKey, now)
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
        completeImage.run({ appId, hash })
        return upsertUpload(tx, image, restrictionKey, now)
      },
      { behavior: 'immediate' },
    )
  }

  return {
    async saveUpload(upload, maxUploadBytesPerApp, now) {
      // Repeating it is safe: it writes the same rows.
      const save = () => saveUpload(upload, maxUploadBytesPerApp, now)
      if (gate.state.outage !== null) return gate.runPatiently(save)
      try {
        return await save()
      } catch (error) {
        if (!gate.recordFailure(error)) throw error
        // Waits, or throws what the app may see.
        return gate.runPatiently(save)
      }
    },

    async getUploads(scope, ids, now) {
      const { appId, restriction } = scope
      const restrictionKey = restriction && scope.restrictionKey
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

    setUpstreamUrl: async ({ appId, hash }, url, expiresAt) =>
      void setUpstreamUrl.run({ appId, hash, url, expiresAt }),

    pruneUploads: async now => pruneStep(db, now),
  }
}

const toImage = (row: typeof images.$inferSelect): UploadedImage => ({
  appId: row.appId as AppId,
  hash: row.hash,
  contentType: row.contentType,
  width: row.width,
  height: row.height,
  bytes: row.bytes,
})

const toUpload = (row: typeof uploads.$inferSelect, image: UploadedImage): Upload => ({
  ...image,
  id: row.id,
  restrictionKey: row.restrictionKey,
  previewToken: row.previewToken,
  expiresAt: row.expiresAt,
})

/**
 * Loads the bytes that the app stores already. It runs in the transaction that reserves space, so concurrent uploads can't
 * exceed the maximum.
 */
function loadQuotaFacts(
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
