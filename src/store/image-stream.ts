/**
 * An uploaded image, read part by part as it is taken: no number of readers holds its megabytes.
 */
import type { Image } from '../domain/upload.ts'
import type { Uploads } from './store.ts'

/** @throws where it was pruned meanwhile: cut short, it is no image to anybody */
export async function* partsOf(
  store: Pick<Uploads, 'imagePart'>,
  image: Pick<Image, 'appId' | 'hash' | 'bytes'>,
): AsyncGenerator<Buffer> {
  for (let sent = 0, part = 0; sent < image.bytes; part++) {
    const data = await store.imagePart(image, part)
    if (data === null) throw new Error('gone')
    sent += data.length
    yield data
  }
}
