/**
 * Sends a request over each transport and records everything that comes back, as bytes.
 */
import { once } from 'node:events'
import { WebSocket } from 'ws'
import type { Harness } from './gateway.ts'
import { until } from './until.ts'
import { FORM_TYPE, filePart, multipartForm } from './upload.ts'

/** Limits so high that none is met. */
export const UNLIMITED_ENV = {
  MAX_OPERATIONS_PER_SECOND: '1000000',
  MAX_SUBSCRIPTIONS_PER_CONNECTION: '1000000',
  MAX_REQUESTS_PER_MINUTE_PER_KEY: '10000000',
  MAX_REQUESTS_PER_MINUTE_PER_ADDRESS: '10000000',
  MAX_WRONG_KEYS_PER_MINUTE: '1000000',
  MAX_UPLOADS_PER_MINUTE_PER_APP: '10000000',
  MAX_QUERY_COST: '1000000000',
  MAX_QUERY_DEPTH: '50',
}

export interface Received {
  /** HTTP only. Headers do not include `date`. */
  status: number
  headers: string
  /** Each event or message is an entry. Any other body is one entry. */
  messages: string[]
  isEnded: boolean
}

export interface Exchange {
  received: Received
  /** Settles when the response ends, by itself or by `end`. */
  ended: Promise<unknown>
  /** Aborts a response that has not ended. */
  end(): Promise<void>
}

export interface Request {
  query: string
  variables: Record<string, unknown>
  /** The upload of `$file`. */
  file?: Buffer | undefined
}

export interface TransportClient extends AsyncDisposable {
  send(request: Request): Promise<Exchange>
}

export type Connect = (harness: Harness, key: string) => Promise<TransportClient>

const overHttp =
  (accept: string): Connect =>
  async (harness, key) => ({
    async send({ file, ...request }) {
      const aborter = new AbortController()
      const response = await harness.fetch('/graphql', {
        method: 'POST',
        signal: aborter.signal,
        headers: {
          'content-type': file ? FORM_TYPE : 'application/json',
          accept,
          authorization: `Bearer ${key}`,
        },
        body: file ? multipartBody(request, file) : JSON.stringify(request),
      })
      const headers = [...response.headers].filter(([name]) => name !== 'date')
      const received = {
        status: response.status,
        headers: JSON.stringify(headers),
        messages: [],
        isEnded: false,
      } as Received
      const reading = readBody(received, response.body!, response.headers.get('content-type') ?? '')
      return {
        received,
        ended: reading,
        async end() {
          aborter.abort()
          await reading
        },
      }
    },
    async [Symbol.asyncDispose]() {},
  })

const multipartBody = ({ variables, ...request }: Request, file: Buffer): Buffer =>
  multipartForm([
    { name: 'operations', body: JSON.stringify({ ...request, variables: { ...variables, file: null } }) },
    { name: 'map', body: '{"0":["variables.file"]}' },
    filePart(file),
  ])

async function readBody(received: Received, body: AsyncIterable<unknown>, type: string): Promise<void> {
  let text = ''
  try {
    for await (const chunk of body) {
      text += Buffer.from(chunk as Uint8Array)
      if (!type.startsWith('text/event-stream')) continue
      const parts = text.split('\n\n')
      text = parts.pop()!
      // Comments are keep-alives.
      received.messages.push(...parts.filter(part => part !== ':'))
    }
    if (text !== '') received.messages.push(text)
    received.isEnded = true
  } catch {
    // The request was aborted.
  }
}

const overWebSocket: Connect = async (harness, key) => {
  const socket = new WebSocket(harness.gateway.endpoint.replace('http', 'ws'), 'graphql-transport-ws')
  const operations = new Map<string, { received: Received; end: () => void }>()
  let closed = ''
  let isAcknowledged = false
  socket.on('message', data => {
    const { id, type, payload } = JSON.parse(String(data))
    if (type === 'connection_ack') isAcknowledged = true
    const operation = operations.get(id)
    if (operation === undefined) return
    operation.received.messages.push(JSON.stringify({ type, payload }))
    if (type === 'next') return
    operation.received.isEnded = true
    operation.end()
  })
  socket.on('close', (code, reason) => {
    closed = `closed with ${code} ${reason}`
    for (const { received, end } of operations.values()) {
      Object.assign(received, { isEnded: true, headers: closed } satisfies Partial<Received>)
      end()
    }
  })
  await once(socket, 'open')
  const sendMessage = (message: object) => socket.send(JSON.stringify(message))
  sendMessage({ type: 'connection_init', payload: { authorization: `Bearer ${key}` } })
  await until(() => isAcknowledged || closed)
  return {
    async send(payload) {
      if (closed !== '') throw new Error(closed)
      const id = `${operations.size}`
      const received: Received = { status: 0, headers: '', messages: [], isEnded: false }
      const { promise: ended, resolve: end } = Promise.withResolvers<void>()
      operations.set(id, { received, end })
      sendMessage({ id, type: 'subscribe', payload })
      return {
        received,
        ended,
        async end() {
          if (!received.isEnded) sendMessage({ id, type: 'complete' })
          end()
        },
      }
    },
    async [Symbol.asyncDispose]() {
      const closing = socket.readyState === WebSocket.CLOSED ? null : once(socket, 'close')
      socket.close()
      await closing
    },
  }
}

export const TRANSPORT_CLIENTS = [
  ['HTTP', overHttp('application/json')],
  ['SSE', overHttp('text/event-stream')],
  ['WebSocket', overWebSocket],
] as const satisfies readonly (readonly [string, Connect])[]
