/**
 * The lower bound of what the bytes cost: `ws` alone. An event is serialised once; each subscriber gets its own id in
 * front, with one `send`.
 */
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { type WebSocket, WebSocketServer } from 'ws'
import { createEvent } from '../event.ts'
import type { BenchServer } from './bench-server.ts'

export async function start(): Promise<BenchServer> {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate: false })
  const prefixes = new Map<WebSocket, string>()

  server.on('connection', socket => {
    socket.on('message', data => {
      const { type, id } = JSON.parse(String(data))
      if (type === 'connection_init') socket.send('{"type":"connection_ack"}')
      if (type === 'subscribe') prefixes.set(socket, `{"id":"${id}","type":"next","payload":`)
    })
    socket.on('close', () => prefixes.delete(socket))
  })
  await once(server, 'listening')

  return {
    url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}`,
    authorization: '',
    publish(numbers) {
      for (const number of numbers) {
        const payload = `${JSON.stringify({ data: { predictionFeed: createEvent(number) } })}}`
        for (const [socket, prefix] of prefixes) socket.send(prefix + payload)
      }
    },
  }
}
