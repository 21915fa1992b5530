/**
 * One subscriber: a raw `ws` client that speaks graphql-transport-ws, one subscription on it.
 * Invariant: every event is looked at. It is the next in the server's order, and its bytes are those that everybody else
 * got; anything else ends the run.
 */
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { WebSocket } from 'ws'
import { DOCUMENT } from '../event.ts'
import type { Log } from './log.ts'

export interface Target {
  url: string
  authorization: string
}

export interface Client {
  /** Events that came. */
  readonly received: number
  /** The feed said that nothing is missed; its cursor. */
  caughtUp: Promise<string>
  /** Reads nothing more, and answers no ping. */
  stall(): void
  wake(): void
  readonly isOpen: boolean
  close(): Promise<void>
}

/** Resolves once the subscription is asked for. */
export async function connect(target: Target, log: Log, after: string | null): Promise<Client> {
  const id = randomUUID()
  const prefix = Buffer.from(`{"id":"${id}","type":"next","payload":`)
  const socket = new WebSocket(target.url, 'graphql-transport-ws', {
    perMessageDeflate: false,
    skipUTF8Validation: true,
  })
  const acknowledged = Promise.withResolvers<void>()
  const caughtUp = Promise.withResolvers<string>()
  let last: number | null = null
  let received = 0
  let mayEnd = false

  function hear(text: string): void {
    const message = JSON.parse(text)
    if (message.type === 'connection_ack') acknowledged.resolve()
    else if (message.type === 'ping') socket.send('{"type":"pong"}')
    else throw new Error(`unexpected: ${text}`)
  }

  socket.on('message', (frame: Buffer) => {
    if (frame.length < prefix.length || frame.compare(prefix, 0, prefix.length, 0, prefix.length) !== 0)
      return hear(String(frame))
    const heard = log.hear(frame, prefix.length, last === null ? null : last + 1)
    if (typeof heard === 'string') return caughtUp.resolve(heard)
    last = heard
    received++
  })
  socket.on('error', error => {
    if (!mayEnd) throw error
  })
  socket.on('close', (code, reason) => {
    if (!mayEnd) throw new Error(`the server closed a socket: ${code} ${reason}`)
  })

  await once(socket, 'open')
  const payload = { authorization: target.authorization }
  socket.send(JSON.stringify({ type: 'connection_init', payload }))
  await acknowledged.promise
  const request = { query: DOCUMENT, variables: { after } }
  socket.send(JSON.stringify({ id, type: 'subscribe', payload: request }))

  return {
    get received() {
      return received
    },
    caughtUp: caughtUp.promise,
    stall() {
      mayEnd = true
      socket.pause()
    },
    wake: () => socket.resume(),
    get isOpen() {
      return socket.readyState === WebSocket.OPEN
    },
    async close() {
      mayEnd = true
      if (socket.readyState === WebSocket.CLOSED) return
      const closed = once(socket, 'close')
      socket.close()
      await closed
    },
  }
}
