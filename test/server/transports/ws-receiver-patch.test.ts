import { once } from 'node:events'
import type { Writable } from 'node:stream'
import { expect, test } from 'vitest'
import * as ws from 'ws'
import { patchWsReceiver } from '../../../src/server/transports/ws-receiver-patch.ts'

const { Receiver } = ws as unknown as { Receiver: new (options: object) => Writable }

const MASK = Buffer.from([1, 2, 3, 4])
const frame = (opcode: number, payload: number[]) =>
  Buffer.from([128 | opcode, 128 | payload.length, ...MASK, ...payload.map((byte, i) => byte ^ MASK[i % 4]!)])

test.each([
  ['text that is not UTF-8', frame(1, [0xff, 0xfe]), 'WS_ERR_INVALID_UTF8'],
  ['a close frame with an invalid code', frame(8, [0, 1]), 'WS_ERR_INVALID_CLOSE_CODE'],
])('after %s nothing more is read, so queued data cannot end the process', async (_, faulty, code) => {
  patchWsReceiver()
  patchWsReceiver()
  const receiver = new Receiver({ isServer: true, allowSynchronousEvents: false })
  const failed = once(receiver, 'error')
  receiver.on('message', () => expect.fail('it is read'))
  // While this ping is handled, the other frames are queued.
  receiver.write(frame(9, [1]))
  receiver.write(faulty)
  receiver.write(frame(1, [65, 66, 67]))
  const [error] = await failed
  expect(error).toMatchObject({ code })
})
