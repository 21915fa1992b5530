/**
 * A WebSocket without a client library, to see what such a library would hide: each message as it arrives, and the close
 * code.
 */
import { once } from 'node:events'
import { WebSocket } from 'ws'
import type { Harness } from './gateway.ts'
import { until } from './until.ts'

export interface RawWebSocket {
  socket: WebSocket
  /** Messages of the server. */
  received: { type: string; id?: string; payload?: { extensions?: { code: string } }[] }[]
  closed: Promise<[code: number, reason: string]>
  send(message: object): void
}

export async function openRawWebSocket(harness: Harness, key = harness.key): Promise<RawWebSocket> {
  const socket = new WebSocket(harness.gateway.endpoint.replace('http', 'ws'), 'graphql-transport-ws')
  const received: RawWebSocket['received'] = []
  socket.on('message', data => received.push(JSON.parse(String(data))))
  const closed = once(socket, 'close').then(([code, reason]): [number, string] => [code, String(reason)])
  await once(socket, 'open')
  const send = (message: object) => socket.send(JSON.stringify(message))
  send({ type: 'connection_init', payload: { authorization: `Bearer ${key}` } })
  await Promise.race([until(() => received.length > 0), closed])
  return { socket, received, closed, send }
}
