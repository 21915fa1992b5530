/**
 * An uploaded image, read part by part as it is taken: no number of readers holds its megabytes.
 */
import type { UploadedImage } from '../domain/upload.ts'
import type { UploadStore } from './store.ts'

/** @throws where it was pruned meanwhile: cut short, it is no image to anybody */
export async function* streamImage(
  store: Pick<UploadStore, 'imageChunk'>,
  image: Pick<UploadedImage, 'appId' | 'hash' | 'bytes'>,
): AsyncGenerator<Buffer> {
  for (let sent = 0, index = 0; sent < image.bytes; index++) {
    const data = await store.imageChunk(image, index)
    if (data === null) throw new Error('gone')
    sent += data.length
    yield data
  }
}
