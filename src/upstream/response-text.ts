/**
 * Reads the body of an upstream response into text: unpacked, without a byte order mark.
 * Invariant: a body takes one buffer, however small the pieces are in which it arrives. Neither its bytes nor its
 * unpacked bytes exceed `maxBytes`; the read ends at the first byte above.
 */
import { type Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { promisify } from 'node:util'
import { brotliDecompress, unzip, zstdDecompress } from 'node:zlib'

const unzipBuffer = promisify(unzip)
/** `unzip` recognises gzip and deflate. We ask for `identity`; proxies exist that compress all the same. */
const DECODERS: Readonly<
  Record<string, (data: Buffer, options: { maxOutputLength: number }) => Promise<Buffer>>
> = {
  gzip: unzipBuffer,
  'x-gzip': unzipBuffer,
  deflate: unzipBuffer,
  br: promisify(brotliDecompress),
  zstd: promisify(zstdDecompress),
}
const FIRST_BUFFER_BYTES = 16 * 1024

/**
 * A body that can't be unpacked is read as empty text, so that the status still counts.
 * @param contentEncoding the header's value; empty without one
 * @throws if the body breaks off, or has more than `maxBytes`
 */
export async function readResponseText(
  body: Readable,
  contentEncoding: string,
  maxBytes: number,
): Promise<string> {
  let data = await readBytes(body, maxBytes)
  const encodings = contentEncoding
    .split(',')
    .map(encoding => encoding.trim().toLowerCase())
    .filter(encoding => encoding !== '' && encoding !== 'identity')
  // The last encoding was applied last.
  for (const encoding of encodings.reverse()) {
    const decode = Object.hasOwn(DECODERS, encoding) ? DECODERS[encoding] : undefined
    if (decode === undefined) return ''
    try {
      data = await decode(data, { maxOutputLength: maxBytes })
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') throw error
      return ''
    }
  }
  // The decoder removes a byte order mark.
  return new TextDecoder().decode(data)
}

async function readBytes(body: Readable, maxBytes: number): Promise<Buffer> {
  let buffer = Buffer.allocUnsafe(Math.min(FIRST_BUFFER_BYTES, maxBytes))
  let size = 0
  const sink = new Writable({
    write(piece: Buffer, _encoding, done) {
      const needed = size + piece.length
      if (needed > maxBytes) return done(new Error(`the response has more than ${maxBytes} bytes`))
      if (needed > buffer.length) {
        const larger = Buffer.allocUnsafe(Math.min(Math.max(2 * buffer.length, needed), maxBytes))
        buffer.copy(larger, 0, 0, size)
        buffer = larger
      }
      piece.copy(buffer, size)
      size = needed
      done()
    },
  })
  await pipeline(body, sink)
  return buffer.subarray(0, size)
}
