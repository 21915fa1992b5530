/**
 * Uploads in SQLite: what an app keeps, who of it sees it, and how it goes again.
 * Invariant: an image is whole before an upload names it, and stays so until none does. Its bytes are written, read and
 * taken away in parts, each in a moment of its own: 25 MB at once hold the process for 100 ms, a part for 1, and for 10
 * where it is SQLite's turn to tidy its log (measured).
 */
import { setImmediate } from 'node:timers/promises'
import { v7 as uuidv7 } from 'uuid'
import { spaceOf } from '../../domain/access-scope.ts'
import type { AppId } from '../../domain/prediction.ts'
import { type Image, newAddress, UPLOAD_LIFE_MS, type Upload } from '../../domain/upload.ts'
import type { Keeping, Uploads } from '../store.ts'
import type { Db, Tx } from './connection.ts'
import { and, asc, eq, inArray, lte, ne, type SQL, sql } from './drizzle.ts'
import { prepare, valuesOf } from './prepare.ts'
import { images, OF_UPLOAD, PARTIAL, parts, uploads } from './schema.ts'

/** Read while somebody waits, so little; and not so little that an image is hundreds of rows. */
const PART_BYTES = 256 * 1024
/** An image counts for no less: a row has its price, too. */
const LEAST_COUNTED = 64 * 1024
/** Bytes of an upload that was cut off by a crash are let go of after so long. */
const ABANDONED_MS = 60 * 60 * 1000
/** A pruning step takes so many uploads, or so many parts: some 3 ms. */
const STEP_UPLOADS = 100
const STEP_PARTS = 4
/** Until what has expired was pruned. */
const PRUNED_MS = 30_000

export function createUploads(db: Db): Uploads {
  const partOf = db
    .select({ data: parts.data })
    .from(parts)
    .where(
      and(
        eq(parts.appId, sql.placeholder('appId')),
        eq(parts.hash, sql.placeholder('hash')),
        eq(parts.part, sql.placeholder('part')),
      ),
    )
    .prepare()
  const found = (which: SQL) =>
    prepare<Upload>(
      db,
      sql`
      select uploads.id, uploads.space, uploads.address, uploads.expires_at as expiresAt, images.app_id as appId,
        images.hash, images.content_type as contentType, images.width, images.height, images.bytes
      from uploads join images on images.app_id = uploads.app_id and images.hash = uploads.hash
      where ${which}`,
    )
  const byId = found(sql`
    uploads.id in ${valuesOf('@ids')} and uploads.expires_at > @now
      and uploads.app_id = @appId and (@space is null or uploads.space = @space)`)
  const byAddress = found(sql`uploads.address = @address`)

  /** Its bytes may be written: they are counted from now on. */
  function reserve(tx: Tx, image: Image, most: number, now: number): Keeping | null {
    const retryAfterMs = excessOf(tx, image, most, now)
    if (retryAfterMs !== null) return { kind: 'refused', retryAfterMs }
    tx.insert(images)
      .values({ ...image, isWhole: false, begunAt: now })
      .onConflictDoUpdate({ target: [images.appId, images.hash], set: { begunAt: now } })
      .run()
    return null
  }

  function record(tx: Tx, image: Image, space: string, now: number): Keeping {
    const expiresAt = now + UPLOAD_LIFE_MS
    const { appId, hash } = image
    const row = tx
      .insert(uploads)
      .values({ id: uuidv7(), appId, space, hash, address: newAddress(), createdAt: now, expiresAt })
      .onConflictDoUpdate({ target: [uploads.appId, uploads.space, uploads.hash], set: { expiresAt } })
      .returning()
      .get()
    return { kind: 'kept', upload: toUpload(row, image) }
  }

  function letGo(tx: Tx, now: number): boolean {
    const isNeeded = sql`exists (select 1 from predictions where upload_id = uploads.id and ${OF_UPLOAD} and status in ('QUEUED', 'CREATED', 'PROCESSING'))`
    const expired = tx
      .select({ id: uploads.id })
      .from(uploads)
      .where(and(lte(uploads.expiresAt, now), sql`not ${isNeeded}`))
      .limit(STEP_UPLOADS)
    const gone = tx.delete(uploads).where(inArray(uploads.id, expired)).returning().all()
    for (const { appId, hash } of gone)
      if (
        tx
          .select()
          .from(uploads)
          .where(isOf(uploads, appId, hash))
          .limit(1)
          .get() === undefined
      )
        tx.update(images)
          .set({ isWhole: false, begunAt: 0 })
          .where(isOf(images, appId, hash))
          .run()
    return gone.length > 0
  }

  function takeAway(tx: Tx, now: number): boolean {
    const image = tx
      .select()
      .from(images)
      .where(and(PARTIAL, lte(images.begunAt, now - ABANDONED_MS)))
      .limit(1)
      .get()
    if (image === undefined) return false
    const { appId, hash } = image
    const some = tx
      .select({ part: parts.part })
      .from(parts)
      .where(isOf(parts, appId, hash))
      .limit(STEP_PARTS)
      .all()
    const numbers = some.map(({ part }) => part)
    tx.delete(parts)
      .where(and(isOf(parts, appId, hash), inArray(parts.part, numbers)))
      .run()
    if (some.length < STEP_PARTS)
      tx.delete(images)
        .where(isOf(images, appId, hash))
        .run()
    return true
  }

  return {
    async keepUpload({ image, space, data }, most, now) {
      const { appId, hash } = image
      const known = db.transaction(
        tx => {
          const whole = and(isOf(images, appId, hash), eq(images.isWhole, true))
          if (tx.select().from(images).where(whole).get() !== undefined) return record(tx, image, space, now)
          return reserve(tx, image, most, now)
        },
        { behavior: 'immediate' },
      )
      if (known !== null) return known
      for (let part = 0; part * PART_BYTES < data.length; part++) {
        const piece = data.subarray(part * PART_BYTES, (part + 1) * PART_BYTES)
        db.insert(parts).values({ appId, hash, part, data: piece }).onConflictDoNothing().run()
        await setImmediate()
      }
      return db.transaction(
        tx => {
          tx.update(images)
            .set({ isWhole: true })
            .where(isOf(images, appId, hash))
            .run()
          return record(tx, image, space, now)
        },
        { behavior: 'immediate' },
      )
    },

    async uploads(scope, ids, now) {
      const { appId, only } = scope
      const space = only && spaceOf(scope)
      const rows = byId.all({ appId, space, ids: JSON.stringify(ids), now })
      const found = new Map(rows.map(upload => [upload.id, upload]))
      return ids.map(id => found.get(id) ?? null)
    },

    uploadAt: async address => byAddress.get({ address }) ?? null,

    async imageOf(uploadId, now) {
      const row = db
        .select({ image: images })
        .from(uploads)
        .innerJoin(images, and(eq(images.appId, uploads.appId), eq(images.hash, uploads.hash)))
        .where(eq(uploads.id, uploadId))
        .get()
      if (row === undefined) return null
      const { handedUrl, handedUntil } = row.image
      return { ...toImage(row.image), handedUrl: (handedUntil ?? 0) > now ? handedUrl : null }
    },

    imagePart: async ({ appId, hash }, part) => partOf.get({ appId, hash, part })?.data ?? null,

    async handed({ appId, hash }, handedUrl, handedUntil) {
      db.update(images)
        .set({ handedUrl, handedUntil })
        .where(isOf(images, appId, hash))
        .run()
    },

    pruneUploads: async now =>
      db.transaction(tx => letGo(tx, now) || takeAway(tx, now), { behavior: 'immediate' }),
  }
}

/** When it would fit, ms from now; null: it does now. */
function excessOf(tx: Tx, { appId, hash, bytes }: Image, most: number, now: number): number | null {
  const counted = (size: number) => Math.max(size, LEAST_COUNTED)
  const used = tx
    .select({ sum: sql<number>`coalesce(sum(max(${images.bytes}, ${LEAST_COUNTED})), 0)` })
    .from(images)
    .where(and(eq(images.appId, appId), ne(images.hash, hash)))
    .get()!.sum
  let over = used + counted(bytes) - most
  if (over <= 0) return null
  const end = sql<number>`coalesce(max(${uploads.expiresAt}), ${images.begunAt} + ${ABANDONED_MS})`
  const ends = tx
    .select({ size: images.bytes, end })
    .from(images)
    .leftJoin(uploads, and(eq(uploads.appId, images.appId), eq(uploads.hash, images.hash)))
    .where(and(eq(images.appId, appId), ne(images.hash, hash)))
    .groupBy(images.hash)
    .orderBy(asc(end))
    .all()
  let last = now
  for (const { size, end } of ends) {
    if (over <= 0) break
    over -= counted(size)
    last = end
  }
  return Math.max(last - now, 0) + PRUNED_MS
}

const isOf = (
  table: typeof images | typeof uploads | typeof parts,
  appId: string,
  hash: string,
): SQL | undefined => and(eq(table.appId, appId), eq(table.hash, hash))

const toImage = (row: typeof images.$inferSelect): Image => ({
  appId: row.appId as AppId,
  hash: row.hash,
  contentType: row.contentType,
  width: row.width,
  height: row.height,
  bytes: row.bytes,
})

const toUpload = (row: typeof uploads.$inferSelect, image: Image | typeof images.$inferSelect): Upload => ({
  ...toImage(image as typeof images.$inferSelect),
  id: row.id,
  space: row.space,
  address: row.address,
  expiresAt: row.expiresAt,
})
