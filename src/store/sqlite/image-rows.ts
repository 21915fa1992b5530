/**
 * The rows of an uploaded image: one in `images`, and one for each chunk and each upload of it.
 */
import { HOUR_MS } from '../../domain/time.ts'
import { and, eq, type SQL } from './drizzle.ts'
import type { imageChunks, images, uploads } from './schema.ts'

/** An image that is still incomplete after this time was interrupted by a crash: its bytes are deleted. */
export const ABANDONED_AFTER_MS = HOUR_MS

export const isImage = (
  table: typeof images | typeof uploads | typeof imageChunks,
  appId: string,
  hash: string,
): SQL | undefined => and(eq(table.appId, appId), eq(table.hash, hash))
