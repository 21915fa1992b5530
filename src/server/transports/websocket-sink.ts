/**
 * Writes one subscription's payloads to its WebSocket, each in a `next` message with the subscription's id.
 */
import type { Payload } from '../../subscriptions/shared-operation.ts'
import type { OperationSink } from '../operation/operation.ts'
import type { WebSocketConnection } from './websocket-connection.ts'
import { encodeFrames } from './websocket-frames.ts'

export class WebSocketSink implements OperationSink {
  readonly #connection: WebSocketConnection
  /** ASCII, because encodeFrames takes its length for its bytes. */
  readonly #envelope: string

  constructor(connection: WebSocketConnection, id: string) {
    this.#connection = connection
    this.#envelope = `{"id":${asciiJson(id)},"type":"next","payload":`
  }

  isClientGone(): boolean {
    return !this.#connection.isOpen
  }

  isFull(): boolean {
    return this.#connection.writer.isFull()
  }

  whenDrained(): Promise<void> {
    return this.#connection.writer.whenDrained()
  }

  send(payloads: readonly Payload[]): boolean {
    if (!this.#connection.isOpen) return false
    this.#connection.writer.write(encodeFrames(this.#envelope, payloads))
    return true
  }
}

const asciiJson = (text: string): string =>
  JSON.stringify(text).replace(
    /[^\x20-\x7e]/g,
    char => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
