/**
 * Streams an uploaded image chunk by chunk, so that many readers do not hold its megabytes in memory.
 */
import type { UploadedImage } from '../domain/upload.ts'
import type { UploadStore } from './store.ts'

/** @throws if the image is pruned while it is read: a truncated image must not look complete */
export async function* streamImage(
  store: Pick<UploadStore, 'imageChunk'>,
  image: Pick<UploadedImage, 'appId' | 'hash' | 'bytes'>,
): AsyncGenerator<Buffer> {
  for (let sent = 0, index = 0; sent < image.bytes; index++) {
    const data = await store.imageChunk(image, index)
    if (data === null) throw new Error('the image was pruned while it was read')
    sent += data.length
    yield data
  }
}
