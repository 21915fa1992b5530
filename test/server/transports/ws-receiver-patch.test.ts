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
  ['text that is no UTF-8', frame(1, [0xff, 0xfe]), 'WS_ERR_INVALID_UTF8'],
  ['a close with a code that is none', frame(8, [0, 1]), 'WS_ERR_INVALID_CLOSE_CODE'],
])('behind %s nothing more is read: what waits ends no process', async (_, faulty, code) => {
  patchWsReceiver()
  patchWsReceiver()
  const receiver = new Receiver({ isServer: true, allowSynchronousEvents: false })
  const failed = once(receiver, 'error')
  receiver.on('message', () => expect.fail('it is read'))
  // While this one is told, the others wait.
  receiver.write(frame(9, [1]))
  receiver.write(faulty)
  receiver.write(frame(1, [65, 66, 67]))
  const [error] = await failed
  expect(error).toMatchObject({ code })
})
