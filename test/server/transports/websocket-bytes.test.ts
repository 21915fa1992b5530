/**
 * Messages of a WebSocket that are large, or come in small pieces.
 */
import { once } from 'node:events'
import { expect, test } from 'vitest'
import type { WebSocket } from 'ws'
import { startGateway } from '../../support/gateway.ts'
import { openRawWebSocket } from '../../support/raw-websocket.ts'
import { until } from '../../support/until.ts'

test('a ping is answered with its payload, and a long one without', async () => {
  await using harness = await startGateway()
  const { socket, received, closed, send } = await openRawWebSocket(harness)
  const before = received.length
  send({ type: 'ping' })
  send({ type: 'ping', payload: { n: 1 } })
  send({ type: 'ping', payload: { x: 'x'.repeat(100_000) } })
  await until(() => received.length === before + 3)
  expect(received.slice(before)).toEqual([
    { type: 'pong' },
    { type: 'pong', payload: { n: 1 } },
    { type: 'pong' },
  ])
  socket.close()
  await closed
})

test('messages are counted by their bytes: megabytes are read at a limited rate', async () => {
  await using harness = await startGateway({ env: { MAX_OPERATIONS_PER_SECOND: '200' } })
  const { socket, received, closed, send } = await openRawWebSocket(harness)
  const before = received.length
  const begun = performance.now()
  for (let n = 0; n < 5; n++) send({ type: 'ping', payload: { x: 'x'.repeat(900_000) } })
  await until(() => received.length === before + 5)
  // 500 messages of 4 KiB a second are 2 MB, and one second's worth is free.
  expect(performance.now() - begun).toBeGreaterThan(700)
  socket.close()
  await closed
})

test('a WebSocket ping has at most 125 bytes', async () => {
  await using harness = await startGateway()
  const { socket, closed } = await openRawWebSocket(harness)
  socket.ping('x'.repeat(125))
  expect(String((await once(socket, 'pong'))[0])).toBe('x'.repeat(125))
  // ws sends no longer one: this is its frame, masked with zeros.
  const { _socket: tcpSocket } = socket as WebSocket & { _socket: { write(bytes: Buffer): void } }
  tcpSocket.write(Buffer.concat([Buffer.from([0x89, 0xfe, 0, 126, 0, 0, 0, 0]), Buffer.alloc(126)]))
  expect((await closed)[0]).toBe(1002)
})

test('a message in many small frames is closed with 1008, and one in some frames is read', async () => {
  await using harness = await startGateway()
  const { socket, received, closed } = await openRawWebSocket(harness)
  const text = JSON.stringify({ type: 'ping', payload: { x: 1 } })
  for (const [i, letter] of [...text].entries()) socket.send(letter, { fin: i === text.length - 1 })
  await until(() => received.some(({ type }) => type === 'pong'))
  for (let n = 0; n < 300; n++) socket.send('x', { fin: false })
  expect((await closed)[0]).toBe(1008)
})
