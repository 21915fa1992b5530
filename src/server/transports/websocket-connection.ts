/**
 * One WebSocket, and all that is asked of it: by graphql-ws, by the heartbeat, by whoever counts connections, by the
 * broadcast.
 * Invariant: while more waits for it than its budget, it is neither written to nor read from; so it can fill nothing.
 */
import type { Socket } from 'node:net'
import { performance } from 'node:perf_hooks'
import { setTimeout } from 'node:timers/promises'
import type { WebSocket as ProtocolSocket } from 'graphql-ws'
import { WebSocket } from 'ws'
import type { Caller } from '../../auth/authenticate.ts'
import type { ErrorLog } from '../../graphql/error-mask.ts'
import type { Payload } from '../../subscriptions/shared-operation.ts'
import type { PayloadSink } from '../../subscriptions/subscription-group.ts'
import { BackpressuredWriter } from './backpressure.ts'
import type { ClientConnection, EndReason } from './connection-registry.ts'
import type { KeepAliveTarget } from './keep-alive.ts'
import { encodeFrames } from './websocket-frames.ts'

/** By what a graphql-ws client makes of them. It stops at 4401; the others bring it back, after 4403 to a 4401. */
export const CLOSE_CODES = {
  unauthorized: [4401, 'Unauthorized'],
  revoked: [4403, 'Forbidden'],
  restart: [1012, 'Service restart'],
  stopping: [1012, 'Service restart'],
  'too many': [1013, 'Too many connections'],
  'try again': [1013, 'Try again later'],
  'bad message': [4400, 'Invalid message received'],
  fault: [4500, 'Internal server error'],
} as const satisfies Record<string, [code: number, reason: string]>

const RESOLVED = Promise.resolve()
const nextLoopPass = () => new Promise(setImmediate)

/** The same for every peer. */
export interface WebSocketConnectionOptions {
  maxOperationsPerSecond: number
  log: ErrorLog
}

/** Each operation is begun and completed, and there are pings. */
const maxMessagesPerSecond = ({ maxOperationsPerSecond }: WebSocketConnectionOptions): number =>
  100 + 2 * maxOperationsPerSecond

export class WebSocketConnection implements ProtocolSocket, ClientConnection, KeepAliveTarget {
  readonly client: WebSocket
  readonly socket: Socket
  readonly writer: BackpressuredWriter
  readonly respondsToPing = true
  /** The client's. */
  readonly address: string
  /** Once its key is known. */
  caller!: Caller
  isAdmitted = false
  readonly #options: WebSocketConnectionOptions
  /** Operations it may still begin, and messages of any kind it is still heard with, as of `filledAt`. */
  #operationTokens: number
  #messageTokens: number
  #refilledAt = performance.now()
  #lastOperation: Promise<unknown> = RESOLVED
  /** Until it is trusted. */
  #countUnauthenticatedBytes: ((chunk: Buffer) => void) | null = null

  constructor(client: WebSocket, socket: Socket, address: string, options: WebSocketConnectionOptions) {
    this.client = client
    this.socket = socket
    this.address = address
    this.writer = new BackpressuredWriter(socket)
    this.#options = options
    this.#operationTokens = options.maxOperationsPerSecond
    this.#messageTokens = maxMessagesPerSecond(options)
  }

  /** Cuts it if it sends more than so many bytes before it is trusted. */
  limitUnauthenticatedBytes(maxBytes: number): void {
    let left = maxBytes
    this.#countUnauthenticatedBytes = ({ length }) => {
      left -= length
      if (left < 0) this.socket.destroy()
    }
    this.socket.on('data', this.#countUnauthenticatedBytes)
  }

  liftUnauthenticatedLimit(): void {
    if (this.#countUnauthenticatedBytes !== null) this.socket.off('data', this.#countUnauthenticatedBytes)
    this.#countUnauthenticatedBytes = null
  }

  get protocol(): string {
    return this.client.protocol
  }

  get isOpen(): boolean {
    return this.client.readyState === WebSocket.OPEN
  }

  /** At once: while graphql-ws waited for a write it would still hold an id that its client has given up. */
  send(text: string): void {
    if (this.isOpen) this.client.send(text)
    this.#pauseIfOverLimit()
  }

  pong(data: Buffer): void {
    if (this.isOpen) this.client.pong(data)
    this.consumeMessage()
  }

  ping(): void {
    if (this.isOpen) this.client.ping()
  }

  onMessage(handle: (text: string) => Promise<void>): void {
    this.client.on('message', data => {
      handle(String(data)).catch(error => this.#onMessageError(error))
      this.consumeMessage()
    })
  }

  /** A reason may have 123 bytes; graphql-ws's own may name an id. */
  close(code?: number, reason = ''): void {
    this.client.close(code, Buffer.byteLength(reason) > 123 ? '' : reason)
  }

  end(reason: EndReason): void {
    this.closeFor(reason)
  }

  closeFor(cause: keyof typeof CLOSE_CODES): void {
    const [code, reason] = CLOSE_CODES[cause]
    this.client.close(code, reason)
  }

  /** One answer at a time, and none while others wait to be read: a few large ones would fill the process. */
  runSerially<Result>(work: () => Promise<Result>): Promise<Result | null> {
    const result = this.#lastOperation.then(async () => {
      await this.writer.whenDrained()
      return this.isOpen ? work() : null
    })
    // Behind whatever sends it.
    this.#lastOperation = result.then(nextLoopPass, nextLoopPass)
    return result
  }

  /** A second's worth at once, then so many a second. */
  tryConsumeOperation(): boolean {
    this.#refillTokens()
    if (this.#operationTokens < 1) return false
    this.#operationTokens--
    return true
  }

  /** A message, whatever it is. */
  consumeMessage(): void {
    this.#refillTokens()
    this.#messageTokens--
    this.#pauseIfOverLimit()
  }

  #refillTokens(): void {
    const { maxOperationsPerSecond } = this.#options
    const messagesPerSecond = maxMessagesPerSecond(this.#options)
    const now = performance.now()
    const seconds = (now - this.#refilledAt) / 1000
    this.#operationTokens = Math.min(
      maxOperationsPerSecond,
      this.#operationTokens + seconds * maxOperationsPerSecond,
    )
    this.#messageTokens = Math.min(messagesPerSecond, this.#messageTokens + seconds * messagesPerSecond)
    this.#refilledAt = now
  }

  #onMessageError(error: Error): void {
    const isClientError = /^Unexpected message/.test(error.message)
    if (!isClientError) this.#options.log.error({ err: error }, 'unexpected error in a WebSocket message')
    this.closeFor(isClientError ? 'bad message' : 'fault')
  }

  /** Whoever does not read what it is told, or says too much, is not heard for a while. */
  #pauseIfOverLimit(): void {
    if (this.client.isPaused || (!this.writer.isFull() && this.#messageTokens >= 0)) return
    this.client.pause()
    Promise.all([this.writer.whenDrained(), this.#waitForMessageToken()]).then(() => this.client.resume())
  }

  /** What was read already is heard meanwhile, and counts. */
  async #waitForMessageToken(): Promise<void> {
    for (; this.#messageTokens < 0; this.#refillTokens()) {
      const ms = (-this.#messageTokens / maxMessagesPerSecond(this.#options)) * 1000
      await setTimeout(ms, undefined, { ref: false })
    }
  }
}

/** One of a peer's subscriptions. */
export class WebSocketSink implements PayloadSink {
  readonly #connection: WebSocketConnection
  /** ASCII, so that its length is its bytes. */
  readonly #envelope: string

  constructor(connection: WebSocketConnection, id: string) {
    this.#connection = connection
    this.#envelope = `{"id":${asciiJson(id)},"type":"next","payload":`
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
