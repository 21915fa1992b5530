/**
 * A request whose body is read in one guarded way, by every endpoint: into one growing buffer.
 * Invariant: no piece of a body is kept as an object of its own. Until the body is wanted, no more of it is read than
 * HELD_BYTES and the rest of one read of the socket. After an early response the rest of the body is discarded within a
 * limit of bytes and of time, or the connection closes.
 */
import { IncomingMessage, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { badArgument } from '../../graphql/request-errors.ts'
import type { BodyShare } from '../limits/body-shares.ts'
import { closeWithError, endConnection } from '../responses/error-response.ts'

export interface BodyLimits {
  maxBytes: number
  /** Opens the share of a body that is longer than FREE_BYTES. Null: the bytes are counted elsewhere. */
  openShare: (() => BodyShare) | null
  /** Time in which no byte needs to arrive. Default: the body timeout of the server is the only limit. */
  graceMs?: number
  /** Min average rate after `graceMs`. Default: the whole body must arrive within `graceMs`. */
  minBytesPerSecond?: number
}

/** `bytes` of a body that is too large are its beginning. */
export type BodyOutcome =
  | { kind: 'complete'; bytes: Buffer }
  | { kind: 'too large'; bytes: Buffer }
  | { kind: 'too slow' | 'over share' }
  /** The client has disconnected, or its connection was closed with an error. */
  | { kind: 'aborted' }

/**
 * Pieces that may have any size. A client may write a small body byte by byte. Node makes an object for each piece, and
 * reads on to the end of 64 KB from the socket: 11,000 pieces of one byte.
 */
const FREE_PIECES = 512
/** Min average size of the other pieces. HTTP clients send hundreds of bytes or more. */
const MIN_PIECE_BYTES = 128
/** Bytes that are read before the body is wanted. */
const HELD_BYTES = 8 * 1024
/** Nearly all bodies are shorter, and meet no share. 5000 connections of one address hold 40 MB this way. */
const FREE_BYTES = 8 * 1024
/** Max bytes of an unwanted body that are read, so that its client receives the response. */
const MAX_DISCARDED_BYTES = 1024 * 1024
const DISCARD_TIMEOUT_MS = 5000
/** After a response with `Connection: close`: closing at once would reset the connection before the response is read. */
const LINGER_MS = 1000
const EMPTY = Buffer.alloc(0)

export class HttpRequest extends IncomingMessage {
  #response: ServerResponse | null = null
  #pieceCount = 0
  #receivedBytes = 0
  #discardedBytes = 0
  #isClosing = false
  #share: BodyShare | null = null
  /** Capacity of the body so far. Its first `#size` bytes are received. */
  #buffer: Buffer = EMPTY
  #size = 0
  #phase: 'held' | 'reading' | 'complete' | 'discarding' = 'held'
  #limits: BodyLimits = { maxBytes: HELD_BYTES, openShare: null }
  #settle: (outcome: BodyOutcome) => void = () => {}
  #timer: NodeJS.Timeout | undefined

  get hasBody(): boolean {
    return 'transfer-encoding' in this.headers || Number(this.headers['content-length'] ?? 0) > 0
  }

  /** NaN: the length is not declared. */
  get declaredBytes(): number {
    return Number(this.headers['content-length'] ?? Number.NaN)
  }

  /** Starts to receive the body. Called once, before anything else happens to the request. */
  receiveBody(response: ServerResponse): void {
    this.#response = response
    if (!this.hasBody) {
      this.#phase = 'complete'
      return
    }
    // A client that waits for `100 Continue` may never send its body.
    const isShort = this.declaredBytes <= MAX_DISCARDED_BYTES && this.headers.expect === undefined
    if (!isShort) this.#closeAfterResponse()
    this.#guardPieces()
    this.on('data', (piece: Buffer) => this.#receive(piece))
    this.once('end', () => this.#complete())
    this.once('close', () => this.#finish({ kind: 'aborted' }))
    response.once('finish', () => this.#discard())
    // Node would discard the body of a request that was never read itself, without `push`.
    this.read(0)
  }

  /** Gives the share back before the response ends: an event stream lives on without its body. */
  releaseBody(): void {
    this.#share?.release()
  }

  /** Reads the body to its end, or up to a limit. Called once. */
  async readBody(limits: BodyLimits): Promise<BodyOutcome> {
    if (this.#phase === 'complete') return { kind: 'complete', bytes: this.#bytes() }
    if (this.destroyed || this.#phase !== 'held') return { kind: 'aborted' }
    if (this.headers.expect !== undefined && this.#receivedBytes === 0) this.#response!.writeContinue()
    this.#limits = limits
    this.#phase = 'reading'
    const { promise, resolve } = Promise.withResolvers<BodyOutcome>()
    this.#settle = resolve
    this.#checkSize()
    if (limits.graceMs !== undefined) this.#enforceRate(limits.graceMs)
    this.resume()
    return promise
  }

  /** Node calls `push` with each piece of the body, and with null at its end. */
  #guardPieces(): void {
    this.push = (piece: Buffer | null) => {
      if (piece === null) return super.push(null)
      if (this.#hasTooSmallPieces()) return false
      this.#pieceCount++
      this.#receivedBytes += piece.length
      if (!this.#hasTooSmallPieces()) return super.push(piece)
      this.#rejectPieces()
      return false
    }
  }

  #receive(piece: Buffer): void {
    if (this.#phase === 'discarding') {
      this.#discardedBytes += piece.length
      if (this.#discardedBytes > MAX_DISCARDED_BYTES) this.socket.destroy()
      return
    }
    if (this.#phase !== 'held' && this.#phase !== 'reading') return
    this.#append(piece)
    if (this.#phase === 'reading') this.#checkSize()
    else if (this.#size >= HELD_BYTES) this.pause()
  }

  #append(piece: Buffer): void {
    const size = this.#size + piece.length
    if (this.#size === 0) this.#buffer = piece
    else {
      if (size > this.#buffer.length) this.#grow(size)
      piece.copy(this.#buffer, this.#size)
    }
    this.#size = size
  }

  #grow(minBytes: number): void {
    const { maxBytes, openShare } = this.#limits
    const maxCapacity = this.declaredBytes <= maxBytes ? this.declaredBytes : maxBytes
    // Memory that is not written to costs nothing yet. The bytes of a share are counted, so it grows by doubling.
    const isReserved = openShare === null && this.#phase === 'reading'
    const capacity = isReserved ? maxCapacity : Math.min(Math.max(this.#buffer.length * 2, 1024), maxCapacity)
    const buffer = Buffer.allocUnsafeSlow(Math.max(capacity, minBytes))
    this.#buffer.copy(buffer, 0, 0, this.#size)
    this.#buffer = buffer
  }

  #checkSize(): void {
    if (this.#size > this.#limits.maxBytes) this.#finish({ kind: 'too large', bytes: this.#bytes() })
    else if (!this.#isWithinShare()) this.#finish({ kind: 'over share' })
  }

  #isWithinShare(): boolean {
    if (this.#buffer.length <= FREE_BYTES || this.#limits.openShare === null) return true
    if (this.#share === null) {
      this.#share = this.#limits.openShare()
      this.#response!.once('close', () => this.releaseBody())
    }
    return this.#share.tryRaise(this.#buffer.length)
  }

  #complete(): void {
    this.#keepOpen()
    const isRead = this.#phase === 'reading'
    if (this.#phase === 'held') this.#phase = 'complete'
    if (isRead) this.#finish({ kind: 'complete', bytes: this.#bytes() })
    clearTimeout(this.#timer)
  }

  /** Ends the reading. The rest of the body waits in the socket until there is a response. */
  #finish(outcome: BodyOutcome): void {
    clearTimeout(this.#timer)
    if (this.#phase !== 'reading') return
    this.#phase = 'discarding'
    this.#buffer = EMPTY
    if (outcome.kind !== 'complete') this.pause()
    if (outcome.kind === 'too slow') this.#closeAfterResponse()
    this.#settle(outcome)
  }

  #bytes(): Buffer {
    return this.#buffer.subarray(0, this.#size)
  }

  #enforceRate(graceMs: number): void {
    const { minBytesPerSecond } = this.#limits
    const startedAt = performance.now()
    const check = () => {
      const earnedMs = minBytesPerSecond === undefined ? 0 : (this.#size / minBytesPerSecond) * 1000
      const leftMs = startedAt + graceMs + earnedMs - performance.now()
      if (leftMs <= 0) this.#finish({ kind: 'too slow' })
      else this.#timer = setTimeout(check, Math.ceil(leftMs))
    }
    check()
  }

  /** The response is sent. */
  #discard(): void {
    if (this.readableEnded || this.destroyed) return
    this.#phase = 'discarding'
    this.#buffer = EMPTY
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.socket.destroy(), DISCARD_TIMEOUT_MS)
    this.resume()
  }

  /** Ends the connection after the response, and destroys it once the client had time to read the response. */
  #linger(): void {
    const { socket } = this
    if (socket.writableEnded) return
    const timer = setTimeout(() => socket.destroy(), LINGER_MS)
    socket.once('close', () => clearTimeout(timer))
    socket.end()
  }

  #closeAfterResponse(): void {
    this.#isClosing = true
    this.#response!.setHeader('connection', 'close')
    this.socket.destroySoon = () => this.#linger()
  }

  /** The body is complete, so the connection can be used again. */
  #keepOpen(): void {
    if (!this.#isClosing) return
    if (!this.#response!.headersSent) this.#response!.removeHeader('connection')
    Reflect.deleteProperty(this.socket, 'destroySoon')
  }

  #hasTooSmallPieces(): boolean {
    return this.#pieceCount > FREE_PIECES + this.#receivedBytes / MIN_PIECE_BYTES
  }

  #rejectPieces(): void {
    ignorePieces(this.socket)
    const error = badArgument('body', `pieces of at least ${MIN_PIECE_BYTES} bytes on average`)
    if (this.#response?.headersSent === false) closeWithError(this.socket, 413, error)
    else endConnection(this.socket)
  }
}

/** Node's parser, as far as it is used here. */
interface Parser {
  constructor: { kOnBody?: number }
  [callback: number]: unknown
}

/**
 * Takes the callback for pieces from Node's parser, which otherwise makes an object of each piece that is already read
 * from the socket: a connection costs 1.3 ms this way, and 8.8 ms without (measured). The callback is set again, since
 * Node uses a parser for the next connection.
 */
function ignorePieces(socket: Socket): void {
  const { parser } = socket as Socket & { parser?: Parser | null }
  const key = parser?.constructor.kOnBody
  if (!parser || key === undefined) return
  const onBody = parser[key]
  parser[key] = null
  socket.once('close', () => {
    parser[key] = onBody
  })
}
