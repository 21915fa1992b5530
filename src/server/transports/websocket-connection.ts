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
import type { Sink } from '../../subscriptions/subscription-group.ts'
import { Outlet } from './backpressure.ts'
import type { Connection, Ending } from './connection-registry.ts'
import type { Pulsing } from './keep-alive.ts'
import { framesOf } from './websocket-frames.ts'

/** By what a graphql-ws client makes of them. It stops at 4401; the others bring it back, after 4403 to a 4401. */
export const CLOSES = {
  unauthorized: [4401, 'Unauthorized'],
  revoked: [4403, 'Forbidden'],
  restart: [1012, 'Service restart'],
  stopping: [1012, 'Service restart'],
  'too many': [1013, 'Too many connections'],
  'try again': [1013, 'Try again later'],
  'bad message': [4400, 'Invalid message received'],
  fault: [4500, 'Internal server error'],
} as const satisfies Record<string, [code: number, reason: string]>

const REST = Promise.resolve()
const nextPass = () => new Promise(setImmediate)

/** The same for every peer. */
export interface Manners {
  operationsPerSecond: number
  log: ErrorLog
}

/** Each operation is begun and completed, and there are pings. */
const messagesPerSecond = ({ operationsPerSecond }: Manners): number => 100 + 2 * operationsPerSecond

export class Peer implements ProtocolSocket, Connection, Pulsing {
  readonly client: WebSocket
  readonly socket: Socket
  readonly outlet: Outlet
  readonly answers = true
  /** The client's. */
  readonly address: string
  /** Once its key is known. */
  caller!: Caller
  admitted = false
  readonly #manners: Manners
  /** Operations it may still begin, and messages of any kind it is still heard with, as of `filledAt`. */
  #tokens: number
  #patience: number
  #filledAt = performance.now()
  #lastTurn: Promise<unknown> = REST
  /** Until it is trusted. */
  #watch: ((chunk: Buffer) => void) | null = null

  constructor(client: WebSocket, socket: Socket, address: string, manners: Manners) {
    this.client = client
    this.socket = socket
    this.address = address
    this.outlet = new Outlet(socket)
    this.#manners = manners
    this.#tokens = manners.operationsPerSecond
    this.#patience = messagesPerSecond(manners)
  }

  /** Cuts it if it sends more than so many bytes before it is trusted. */
  distrust(bytes: number): void {
    let left = bytes
    this.#watch = ({ length }) => {
      left -= length
      if (left < 0) this.socket.destroy()
    }
    this.socket.on('data', this.#watch)
  }

  trust(): void {
    if (this.#watch !== null) this.socket.off('data', this.#watch)
    this.#watch = null
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
    this.#listen()
  }

  pong(data: Buffer): void {
    if (this.isOpen) this.client.pong(data)
    this.heard()
  }

  ping(): void {
    if (this.isOpen) this.client.ping()
  }

  onMessage(hear: (text: string) => Promise<void>): void {
    this.client.on('message', data => {
      hear(String(data)).catch(error => this.#fail(error))
      this.heard()
    })
  }

  /** A reason may have 123 bytes; graphql-ws's own may name an id. */
  close(code?: number, reason = ''): void {
    this.client.close(code, Buffer.byteLength(reason) > 123 ? '' : reason)
  }

  end(why: Ending): void {
    this.closeFor(why)
  }

  closeFor(why: keyof typeof CLOSES): void {
    const [code, reason] = CLOSES[why]
    this.client.close(code, reason)
  }

  /** One answer at a time, and none while others wait to be read: a few large ones would fill the process. */
  inTurn<Answer>(work: () => Promise<Answer>): Promise<Answer | null> {
    const answer = this.#lastTurn.then(async () => {
      await this.outlet.drained()
      return this.isOpen ? work() : null
    })
    // Behind whatever sends it.
    this.#lastTurn = answer.then(nextPass, nextPass)
    return answer
  }

  /** A second's worth at once, then so many a second. */
  mayBegin(): boolean {
    this.#fill()
    if (this.#tokens < 1) return false
    this.#tokens--
    return true
  }

  /** A message, whatever it is. */
  heard(): void {
    this.#fill()
    this.#patience--
    this.#listen()
  }

  #fill(): void {
    const { operationsPerSecond } = this.#manners
    const most = messagesPerSecond(this.#manners)
    const now = performance.now()
    const seconds = (now - this.#filledAt) / 1000
    this.#tokens = Math.min(operationsPerSecond, this.#tokens + seconds * operationsPerSecond)
    this.#patience = Math.min(most, this.#patience + seconds * most)
    this.#filledAt = now
  }

  #fail(error: Error): void {
    const isTheirs = /^Unexpected message/.test(error.message)
    if (!isTheirs) this.#manners.log.error({ err: error }, 'unexpected error in a WebSocket message')
    this.closeFor(isTheirs ? 'bad message' : 'fault')
  }

  /** Whoever does not read what it is told, or says too much, is not heard for a while. */
  #listen(): void {
    if (this.client.isPaused || (!this.outlet.isFull() && this.#patience >= 0)) return
    this.client.pause()
    Promise.all([this.outlet.drained(), this.#rested()]).then(() => this.client.resume())
  }

  /** What was read already is heard meanwhile, and counts. */
  async #rested(): Promise<void> {
    for (; this.#patience < 0; this.#fill()) {
      const ms = (-this.#patience / messagesPerSecond(this.#manners)) * 1000
      await setTimeout(ms, undefined, { ref: false })
    }
  }
}

/** One of a peer's subscriptions. */
export class PeerSink implements Sink {
  readonly #peer: Peer
  /** ASCII, so that its length is its bytes. */
  readonly #envelope: string

  constructor(peer: Peer, id: string) {
    this.#peer = peer
    this.#envelope = `{"id":${asciiJson(id)},"type":"next","payload":`
  }

  isFull(): boolean {
    return this.#peer.outlet.isFull()
  }

  drained(): Promise<void> {
    return this.#peer.outlet.drained()
  }

  send(payloads: readonly Payload[]): boolean {
    if (!this.#peer.isOpen) return false
    this.#peer.outlet.write(framesOf(this.#envelope, payloads))
    return true
  }
}

const asciiJson = (text: string): string =>
  JSON.stringify(text).replace(
    /[^\x20-\x7e]/g,
    char => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
