/**
 * The rows of an uploaded image: one in `images`, and one for each chunk and each upload of it.
 */
import { and, eq, type SQL } from './drizzle.ts'
import type { imageChunks, images, uploads } from './schema.ts'

export const isImage = (
  table: typeof images | typeof uploads | typeof imageChunks,
  appId: string,
  hash: string,
): SQL | undefined => and(eq(table.appId, appId), eq(table.hash, hash))
