import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type ImageType, parseImageHeader } from '../../src/domain/image-format.ts'

const latin1 = (text: string) => Buffer.from(text, 'latin1')
/** The numbers, each in `size` bytes. */
const bigEndian = (size: number, ...values: number[]) =>
  Buffer.concat(
    values.map(value => {
      const bytes = Buffer.alloc(size)
      bytes.writeUIntBE(value, 0, size)
      return bytes
    }),
  )
const littleEndian = (size: number, ...values: number[]) =>
  Buffer.concat(values.map(value => bigEndian(size, value < 0 ? value + 256 ** size : value).reverse()))

const segment = (marker: number, content: Buffer) =>
  Buffer.concat([bigEndian(1, 0xff, marker), bigEndian(2, content.length + 2), content])
const frame = (marker: number, width: number, height: number) =>
  segment(marker, Buffer.concat([bigEndian(1, 8), bigEndian(2, height, width), bigEndian(1, 1, 1, 0x11, 0)]))
const jpeg = (...segments: Buffer[]) => Buffer.concat([bigEndian(1, 0xff, 0xd8), ...segments])
/** An APP1 segment whose content looks like a frame. */
const metadata = (size: number) =>
  segment(0xe1, Buffer.concat([latin1('Exif\0\0'), frame(0xc0, 9, 9), Buffer.alloc(size)]))
const webp = (chunk: string, content: Buffer) =>
  Buffer.concat([
    latin1('RIFF'),
    littleEndian(4, 99),
    latin1('WEBP'),
    latin1(chunk),
    littleEndian(4, 99),
    content,
  ])
const bitmap = (header: number, sides: Buffer) =>
  Buffer.concat([latin1('BM'), littleEndian(4, 999, 0, 54, header), sides, Buffer.alloc(40)])

/** Headers as ffmpeg writes them, each of a 300 × 200 image. */
const SAMPLE_HEADS: [type: ImageType, head: Buffer][] = [
  [
    'image/jpeg',
    Buffer.from(
      '/9j/4AAQSkZJRgABAgAAAQABAAD//gAQTGF2YzU5LjM3LjEwMAD/2wBDAAgEBAQEBAUFBQUFBQYGBgYGBgYGBgYGBgYHBwcICAgHBwcGBgcHCAgICAkJCQgICAgJCQoKCgwMCwsODg4RERT/xABNAAEBAAAAAAAAAAAAAAAAAAAABgEBAQEAAAAAAAAAAAAAAAAAAAYHEAEAAAAAAAAAAAAAAAAAAAAAEQEAAAAAAAAAAAAAAAAAAAAA/8AAEQgAyAEsAwEiAAIRAAMRAP/a',
      'base64',
    ),
  ],
  ['image/png', Buffer.from('iVBORw0KGgoAAAANSUhEUgAAASwAAADICAIAAADdvUsCAAAACXBIWQ==', 'base64')],
  ['image/webp', Buffer.from('UklGRtgAAABXRUJQVlA4IMwAAADQEACdASosAcgAPpFIoU0lpCMiIA==', 'base64')],
  ['image/webp', Buffer.from('UklGRiQAAABXRUJQVlA4TBcAAAAvK8ExAAcQ9Y/+BwAU6f9/iuh/6g==', 'base64')],
  ['image/bmp', Buffer.from('Qk1WvwIAAAAAADYAAAAoAAAALAEAAMgAAAABABgAAAAAACC/AgAAAA==', 'base64')],
]

test.each(SAMPLE_HEADS)('the header of a real %s has its type, width and height', (type, head) => {
  expect(parseImageHeader(head)).toEqual({ type, width: 300, height: 200 })
})

test('a whole file is read like its header', () => {
  const file = readFileSync('src/simulator/assets/sample.jpg')
  expect(parseImageHeader(file)).toEqual({ type: 'image/jpeg', width: 1280, height: 720 })
})

test.each(SAMPLE_HEADS)('a view into a larger buffer is read alone: %s', (type, head) => {
  const around = Buffer.concat([SAMPLE_HEADS[1]![1], head, SAMPLE_HEADS[1]![1]])
  const part = new Uint8Array(around.buffer, around.byteOffset + SAMPLE_HEADS[1]![1].length, head.length)
  expect(parseImageHeader(part)).toEqual({ type, width: 300, height: 200 })
})

describe('a JPEG', () => {
  const jpegSize = (width: number | null, height: number | null) => ({ type: 'image/jpeg', width, height })

  test.each([0xc0, 0xc1, 0xc2, 0xc3, 0xc5, 0xc6, 0xc7, 0xc9, 0xca, 0xcb, 0xcd, 0xce, 0xcf])(
    'has its dimensions in the frame of marker %i, whatever its metadata contain',
    marker => {
      expect(parseImageHeader(jpeg(metadata(500), frame(marker, 4000, 3000)))).toEqual(jpegSize(4000, 3000))
    },
  )

  test.each([0xc4, 0xc8, 0xcc])('has no dimensions in the table of marker %i', marker => {
    expect(parseImageHeader(jpeg(frame(marker, 9, 9), frame(0xc0, 40, 30)))).toEqual(jpegSize(40, 30))
  })

  test('is read past the padding before a marker', () => {
    expect(parseImageHeader(jpeg(metadata(5), Buffer.alloc(7, 0xff), frame(0xc2, 40, 30)))).toEqual(
      jpegSize(40, 30),
    )
  })

  test('whose frame lies beyond these bytes has no dimensions', () => {
    const file = jpeg(metadata(60_000), metadata(60_000), frame(0xc0, 40, 30))
    expect(parseImageHeader(file)).toEqual(jpegSize(40, 30))
    expect(parseImageHeader(file.subarray(0, 65_536))).toEqual(jpegSize(null, null))
  })

  test('with its height at the end of the file has no height', () => {
    expect(parseImageHeader(jpeg(frame(0xc0, 40, 0)))).toEqual(jpegSize(40, null))
  })
})

describe('a WebP', () => {
  test('with an extended header has the dimensions of its canvas', () => {
    const head = webp('VP8X', Buffer.concat([littleEndian(4, 0x10), littleEndian(3, 16_383, 99_999)]))
    expect(parseImageHeader(head)).toEqual({ type: 'image/webp', width: 16_384, height: 100_000 })
  })

  test('may be of any length', () => {
    const head = Buffer.from(SAMPLE_HEADS[2]![1])
    head.fill('\n', 4, 8)
    expect(parseImageHeader(head)).toEqual({ type: 'image/webp', width: 300, height: 200 })
  })

  test('of an unknown form has no dimensions', () => {
    const head = webp('VP9 ', Buffer.alloc(40, 1))
    expect(parseImageHeader(head)).toEqual({ type: 'image/webp', width: null, height: null })
  })

  test('is not any other RIFF file', () => {
    const wave = Buffer.concat([latin1('RIFF'), littleEndian(4, 99), latin1('WAVEfmt '), Buffer.alloc(40)])
    expect(parseImageHeader(wave)).toBeNull()
  })
})

describe('a BMP', () => {
  const bmpSize = (width: number | null, height: number | null) => ({ type: 'image/bmp', width, height })

  test('with the oldest header has 16-bit dimensions', () => {
    expect(parseImageHeader(bitmap(12, littleEndian(2, 640, 40_000)))).toEqual(bmpSize(640, 40_000))
  })

  test.each([16, 40, 52, 56, 64, 108, 124])('with a header of %i bytes has 32-bit dimensions', header => {
    expect(parseImageHeader(bitmap(header, littleEndian(4, 100_000, 480)))).toEqual(bmpSize(100_000, 480))
  })

  test('with top-down rows has a negative height, which is read as positive', () => {
    expect(parseImageHeader(bitmap(40, littleEndian(4, 640, -480)))).toEqual(bmpSize(640, 480))
  })

  test('with a negative width has no width', () => {
    expect(parseImageHeader(bitmap(40, littleEndian(4, -640, 480)))).toEqual(bmpSize(null, 480))
  })

  test('is not a text that begins with the same letters', () => {
    expect(parseImageHeader(latin1('BM stands for bitmap, and for much else besides.'))).toBeNull()
  })
})

test('any other file is not an image', () => {
  const others = [
    '',
    '<!doctype html><html><body>not found</body></html>',
    '{"error": "gone"}',
    '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>',
    'GIF89a\x09\0\x09\0\0\0\0',
    'II*\0\x08\0\0\0',
    '\0\0\0\x20ftypavif\0\0\0\0avifmif1miafMA1B',
    '\xff\xd8',
    '\xff\xd9\xff\xe0',
    '\x89PNG\n\x1a\n',
    'RIFF',
    'BM',
  ]
  for (const text of others) expect(parseImageHeader(latin1(text)), text).toBeNull()
})

describe('any bytes give a result', () => {
  const isAnswer = (bytes: Uint8Array) => {
    const image = parseImageHeader(bytes)
    if (image === null) return true
    const sane = (side: number | null) => side === null || (Number.isInteger(side) && side > 0)
    return /^image\/(jpeg|png|webp|bmp)$/.test(image.type) && sane(image.width) && sane(image.height)
  }
  const signatures = [
    ...SAMPLE_HEADS.map(([, head]) => head),
    latin1('\xff\xd8\xff'),
    webp('VP8X', Buffer.alloc(0)),
    bitmap(12, Buffer.alloc(0)),
  ]

  test('whether random or after a valid start', () => {
    const tail = fc.oneof(
      fc.uint8Array({ maxLength: 2000 }),
      fc
        .array(fc.constantFrom(0xff, 0, 1, 2, 0xc0, 0xda), { maxLength: 2000 })
        .map(bytes => Uint8Array.from(bytes)),
    )
    fc.assert(fc.property(tail, isAnswer))
    fc.assert(
      fc.property(fc.constantFrom(...signatures), fc.nat(60), tail, (good, length, bad) =>
        isAnswer(Buffer.concat([good.subarray(0, length), bad])),
      ),
      { numRuns: 1000 },
    )
  })

  test.each(SAMPLE_HEADS)(
    'a %s that is truncated anywhere has its type, and its dimensions or none',
    (type, head) => {
      const enough = type === 'image/bmp' ? 18 : 12
      for (let length = 0; length <= head.length; length++) {
        const image = parseImageHeader(head.subarray(0, length))
        if (length >= enough) expect(image?.type, `${length} bytes`).toBe(type)
        if (image === null) continue
        expect([null, 300]).toContain(image.width)
        expect([null, 200]).toContain(image.height)
      }
    },
  )

  test('within 500 ms, even for 64 KiB of markers', () => {
    const start = performance.now()
    for (const filler of [0xff, 0x00, 0x01]) parseImageHeader(jpeg(Buffer.alloc(65_536, filler)))
    parseImageHeader(jpeg(...Array.from({ length: 13_000 }, () => segment(0xe1, Buffer.alloc(1)))))
    expect(performance.now() - start).toBeLessThan(500)
  })
})
