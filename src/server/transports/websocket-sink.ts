/**
 * Writes one subscription's payloads to its WebSocket, each in a `next` message with the subscription's id.
 */
import { WebSocket } from 'ws'
import type { Payload } from '../../subscriptions/shared-operation.ts'
import type { OperationSink } from '../../subscriptions/subscription-group.ts'
import type { BackpressuredWriter } from './backpressure.ts'
import type { WebSocketConnection } from './websocket-connection.ts'
import { encodeFrames } from './websocket-frames.ts'

export class WebSocketSink implements OperationSink {
  readonly #client: WebSocket
  readonly #writer: BackpressuredWriter
  /** ASCII, because encodeFrames takes its length for its bytes. */
  readonly #envelope: string

  constructor({ client, writer }: Pick<WebSocketConnection, 'client' | 'writer'>, id: string) {
    this.#client = client
    this.#writer = writer
    this.#envelope = `{"id":${asciiJson(id)},"type":"next","payload":`
  }

  isFull(): boolean {
    return this.#writer.isFull()
  }

  whenDrained(): Promise<void> {
    return this.#writer.whenDrained()
  }

  send(payloads: readonly Payload[]): boolean {
    if (this.#client.readyState !== WebSocket.OPEN) return false
    this.#writer.write(encodeFrames(this.#envelope, payloads))
    return true
  }
}

const asciiJson = (text: string): string =>
  JSON.stringify(text).replace(
    /[^\x20-\x7e]/g,
    char => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
