/**
 * A WebSocket by hand, for what a client would hide: each message as it came, and how it closed.
 */
import { once } from 'node:events'
import { WebSocket } from 'ws'
import type { Harness } from './gateway.ts'
import { until } from './until.ts'

export interface Talk {
  socket: WebSocket
  /** What the server said, without pings. */
  heard: { type: string; id?: string; payload?: { extensions?: { code: string } }[] }[]
  closed: Promise<[code: number, reason: string]>
  say(message: object): void
}

export async function talk(harness: Harness, key = harness.key): Promise<Talk> {
  const socket = new WebSocket(harness.gateway.endpoint.replace('http', 'ws'), 'graphql-transport-ws')
  const heard: Talk['heard'] = []
  socket.on('message', data => heard.push(JSON.parse(String(data))))
  const closed = once(socket, 'close').then(([code, reason]): [number, string] => [code, String(reason)])
  await once(socket, 'open')
  const say = (message: object) => socket.send(JSON.stringify(message))
  say({ type: 'connection_init', payload: { authorization: `Bearer ${key}` } })
  await Promise.race([until(() => heard.length > 0), closed])
  return { socket, heard, closed, say }
}
