/**
 * A raw `ws` subscriber that speaks graphql-transport-ws, with one subscription.
 * Invariant: each event is checked. It is the next in the server's order and has the bytes that every other client
 * received; otherwise the run ends.
 */
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { WebSocket } from 'ws'
import { FEED_DOCUMENT } from '../event.ts'
import type { DeliveryLog } from './delivery-log.ts'

export interface ServerAddress {
  url: string
  authorization: string
}

export interface FeedClient {
  /** Received events. */
  readonly received: number
  /** The cursor of FeedCaughtUp. */
  caughtUpCursor: Promise<string>
  /** Stops reading, and answers no ping. */
  stall(): void
  resume(): void
  readonly isOpen: boolean
  close(): Promise<void>
}

/** Resolves once `subscribe` is sent. */
export async function connect(
  target: ServerAddress,
  log: DeliveryLog,
  after: string | null,
): Promise<FeedClient> {
  const id = randomUUID()
  const prefix = Buffer.from(`{"id":"${id}","type":"next","payload":`)
  const socket = new WebSocket(target.url, 'graphql-transport-ws', {
    perMessageDeflate: false,
    skipUTF8Validation: true,
  })
  const acknowledged = Promise.withResolvers<void>()
  const caughtUpCursor = Promise.withResolvers<string>()
  let last: number | null = null
  let received = 0
  let mayClose = false

  function handleControl(text: string): void {
    const message = JSON.parse(text)
    if (message.type === 'connection_ack') acknowledged.resolve()
    else if (message.type === 'ping') socket.send('{"type":"pong"}')
    else throw new Error(`unexpected: ${text}`)
  }

  socket.on('message', (frame: Buffer) => {
    if (frame.length < prefix.length || frame.compare(prefix, 0, prefix.length, 0, prefix.length) !== 0)
      return handleControl(String(frame))
    const result = log.record(frame, prefix.length, last === null ? null : last + 1)
    if (typeof result === 'string') return caughtUpCursor.resolve(result)
    last = result
    received++
  })
  socket.on('error', error => {
    if (!mayClose) throw error
  })
  socket.on('close', (code, reason) => {
    if (!mayClose) throw new Error(`the server closed a socket: ${code} ${reason}`)
  })

  await once(socket, 'open')
  const payload = { authorization: target.authorization }
  socket.send(JSON.stringify({ type: 'connection_init', payload }))
  await acknowledged.promise
  const request = { query: FEED_DOCUMENT, variables: { after } }
  socket.send(JSON.stringify({ id, type: 'subscribe', payload: request }))

  return {
    get received() {
      return received
    },
    caughtUpCursor: caughtUpCursor.promise,
    stall() {
      mayClose = true
      socket.pause()
    },
    resume: () => socket.resume(),
    get isOpen() {
      return socket.readyState === WebSocket.OPEN
    },
    async close() {
      mayClose = true
      if (socket.readyState === WebSocket.CLOSED) return
      const closed = once(socket, 'close')
      socket.close()
      await closed
    },
  }
}
