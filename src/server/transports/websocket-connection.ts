/**
 * A WebSocket connection, as graphql-ws, the keep-alive and the connection registry see it.
 * Invariant: while more than MAX_BUFFERED_BYTES wait to be sent, the connection is not read, and its
 * subscriptions are not written.
 */
import { isUtf8 } from 'node:buffer'
import type { Socket } from 'node:net'
import type { WebSocket as ProtocolSocket } from 'graphql-ws'
import { WebSocket } from 'ws'
import type { Caller } from '../../auth/authenticate.ts'
import type { AppId } from '../../domain/prediction.ts'
import type { Services } from '../../graphql/context.ts'
import type { ErrorLog } from '../../graphql/error-mask.ts'
import { TokenBucket } from '../limits/token-bucket.ts'
import { BackpressuredWriter } from './backpressure.ts'
import type { ClientConnection, EndReason } from './connection-registry.ts'

/**
 * How graphql-ws clients react: they stop at 4401 and reconnect after the others. After 4403 they reconnect
 * with the revoked credential, and get 4401.
 */
export const CLOSE_CODES = {
  unauthorized: [4401, 'Unauthorized'],
  revoked: [4403, 'Forbidden'],
  restart: [1012, 'Service restart'],
  stopping: [1012, 'Service restart'],
  'too many': [1013, 'Too many connections'],
  'try again': [1013, 'Try again later'],
  'not text': [1007, 'Expected UTF-8'],
  'bad message': [4400, 'Invalid message received'],
  fault: [4500, 'Internal server error'],
} as const satisfies Record<string, [code: number, reason: string]>

const PONG = JSON.stringify({ type: 'pong' })
const RESOLVED = Promise.resolve()
/** Connections that are not authenticated take turns as one app. */
const UNKNOWN_APP = '' as AppId
const nextLoopPass = () => new Promise(setImmediate)

/** Shared by all connections. */
export interface WebSocketConnectionOptions {
  maxOperationsPerSecond: number
  nextSlice: Services['nextSlice']
  log: ErrorLog
}

/** Larger messages take over a millisecond to parse. They wait for their app's turn, and later messages for them. */
const SLICE_MESSAGE_BYTES = 64 * 1024

/** For pings. An operation has two messages besides: `subscribe` and `complete`. */
const OTHER_MESSAGES_PER_SECOND = 100
/** A longer message counts as several, so that a connection is read at 800 KB a second (at the default rate). */
const BYTES_PER_MESSAGE = 4096
/** Max payload of the protocol's own ping that is sent back: as long as that of a WebSocket ping (RFC 6455, 5.5). */
const MAX_PONG_CHARACTERS = 125

export class WebSocketConnection implements ProtocolSocket, ClientConnection {
  readonly client: WebSocket
  readonly socket: Socket
  readonly writer: BackpressuredWriter
  readonly respondsToPing = true
  /** The client's network. */
  readonly network: string
  /** Set once the credential is verified. */
  caller!: Caller
  isAdmitted = false
  readonly #options: WebSocketConnectionOptions
  #lastMessage: Promise<void> = RESOLVED
  #waitingMessages = 0
  /** For operations. Above its rate an operation is rejected. */
  readonly operationTokens: TokenBucket
  /** For messages of any kind. Above its rate reading is paused. */
  readonly #messageTokens: TokenBucket
  #lastOperation: Promise<unknown> = RESOLVED
  /** Listener that counts bytes until the connection is authenticated. */
  #countUnauthenticatedBytes: ((chunk: Buffer) => void) | null = null

  constructor(client: WebSocket, socket: Socket, network: string, options: WebSocketConnectionOptions) {
    this.client = client
    this.socket = socket
    this.network = network
    this.writer = new BackpressuredWriter(socket)
    this.#options = options
    const { maxOperationsPerSecond } = options
    this.operationTokens = new TokenBucket(maxOperationsPerSecond)
    this.#messageTokens = new TokenBucket(OTHER_MESSAGES_PER_SECOND + 2 * maxOperationsPerSecond)
  }

  /** Destroys the socket if it sends more than `maxBytes` before it is authenticated. */
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

  /** Writes at once: if graphql-ws waited for a write, it would keep an id that its client has given up. */
  send(text: string): void {
    if (this.isOpen) this.client.send(text)
    if (this.writer.isFull()) this.#pauseUntilReady()
  }

  pong(data: Buffer): void {
    if (this.isOpen) this.client.pong(data)
    this.consumeMessage(data.length)
  }

  /** Answers a `ping` of graphql-transport-ws, which may have a payload. A pong needs none. */
  onPing(payload?: Record<string, unknown>): void {
    const text = JSON.stringify({ type: 'pong', payload })
    this.send(text.length > MAX_PONG_CHARACTERS ? PONG : text)
  }

  ping(): void {
    if (this.isOpen) this.client.ping()
  }

  onMessage(handle: (text: string) => Promise<void>): void {
    this.client.on('message', (data: Buffer, isBinary) => {
      // ws checks text messages.
      if (isBinary && !isUtf8(data)) return this.closeFor('not text')
      if (data.length > SLICE_MESSAGE_BYTES || this.#waitingMessages > 0) this.#handleLater(data, handle)
      else this.#handle(data, handle)
      this.consumeMessage(data.length)
    })
  }

  #handle(message: Buffer, handle: (text: string) => Promise<void>): void {
    // graphql-ws keeps its message, and its text if it gets one, as long as the operation lives.
    handle(parseMessage(message) as never).catch(error => this.#onMessageError(error))
  }

  #handleLater(message: Buffer, handle: (text: string) => Promise<void>): void {
    this.#waitingMessages++
    this.#lastMessage = this.#lastMessage.then(async () => {
      if (message.length > SLICE_MESSAGE_BYTES)
        await this.#options.nextSlice(this.isAdmitted ? this.caller.scope.appId : UNKNOWN_APP)
      this.#waitingMessages--
      if (this.isOpen) this.#handle(message, handle)
    })
    this.#pauseUntilReady()
  }

  /** A close reason has at most 123 bytes. graphql-ws may put an id into it. */
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

  /**
   * Runs one operation at a time, and none while too many bytes wait to be sent: a few large results would
   * fill the memory. Resolves to null if the connection was closed meanwhile.
   */
  runSerially<Result>(work: () => Promise<Result>): Promise<Result | null> {
    const result = this.#lastOperation.then(async () => {
      await this.writer.whenDrained()
      return this.isOpen ? work() : null
    })
    // The next operation waits until this result has been sent.
    this.#lastOperation = result.then(nextLoopPass, nextLoopPass)
    return result
  }

  /** Counts a message of any kind, by its bytes. Above the rate, reading is paused. */
  consumeMessage(bytes: number): void {
    if (this.#messageTokens.take(Math.max(1, bytes / BYTES_PER_MESSAGE)) || this.writer.isFull())
      this.#pauseUntilReady()
  }

  #onMessageError(error: Error): void {
    const isClientError = /^Unexpected message/.test(error.message)
    if (!isClientError) this.#options.log.error({ err: error }, 'unexpected error in a WebSocket message')
    this.closeFor(isClientError ? 'bad message' : 'fault')
  }

  /** Pauses reading until the client has read, and is within its message rate. */
  #pauseUntilReady(): void {
    if (this.client.isPaused) return
    this.client.pause()
    // Messages that were already read are still handled, and counted.
    Promise.all([this.writer.whenDrained(), this.#messageTokens.whenRefilled(), this.#lastMessage]).then(() =>
      this.client.resume(),
    )
  }
}

/**
 * The parts of a message that graphql-ws reads: a client may send others, of any size. Null: not a JSON object; graphql-ws
 * rejects it.
 */
function parseMessage(data: Buffer): object | null {
  try {
    const { id, type, payload } = JSON.parse(String(data))
    if (type !== 'subscribe' || payload === null || typeof payload !== 'object' || Array.isArray(payload))
      return { id, type, payload }
    const { query, operationName, variables, extensions } = payload
    return { id, type, payload: { query, operationName, variables, extensions } }
  } catch {
    return null
  }
}
