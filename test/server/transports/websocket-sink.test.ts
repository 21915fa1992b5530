import { once } from 'node:events'
import { expect, test } from 'vitest'
// @ts-expect-error the types of ws do not have it yet
import { Receiver } from 'ws'
import { encodeFrames } from '../../../src/server/transports/websocket-sink.ts'

/** Reads the frames as a WebSocket does. */
async function read(pieces: Buffer[], count: number): Promise<string[]> {
  const receiver = new Receiver({ isServer: false, skipUTF8Validation: false })
  const texts: string[] = []
  receiver.on('message', (data: Buffer, isBinary: boolean) => texts.push(isBinary ? 'binary' : String(data)))
  for (const piece of pieces) receiver.write(piece)
  while (texts.length < count) await once(receiver, 'message')
  return texts
}

test.each([1, 60, 124, 125, 126, 127, 16_384, 16_385, 16_386, 65_534, 65_535, 65_536, 200_000])(
  'a frame of %i bytes is read as it was written',
  async size => {
    const envelope = '{'
    const json = Buffer.from('x'.repeat(size - 1))
    expect(await read(encodeFrames(envelope, [{ json }]), 1)).toEqual([`{${json}`])
  },
)

test('small frames are one buffer; a large payload keeps its own buffer', () => {
  const [small, large] = [{ json: Buffer.alloc(100) }, { json: Buffer.alloc(20_000) }]
  expect(encodeFrames('<', [small, small, small])).toHaveLength(1)
  const pieces = encodeFrames('<', [small, large, small])
  expect(pieces).toHaveLength(3)
  expect(pieces[1]).toBe(large.json)
})

test('several frames are read one by one, in order', async () => {
  const payloads = ['a', 'ü'.repeat(100), 'b'.repeat(70_000), 'c'].map(text => Buffer.from(text))
  expect(
    await read(
      encodeFrames(
        '<',
        payloads.map(json => ({ json })),
      ),
      4,
    ),
  ).toEqual(payloads.map(payload => `<${payload}`))
})
