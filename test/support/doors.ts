/**
 * One request over each transport, and all that comes back: as bytes, for what counts is what the asker can see.
 */
import { once } from 'node:events'
import { WebSocket } from 'ws'
import type { Harness } from './gateway.ts'
import { until } from './until.ts'
import { FORM_TYPE, fileOf, formOf } from './upload.ts'

/** For whoever asks more at once than an app would. */
export const UNCAPPED = {
  MAX_OPERATIONS_PER_SECOND: '1000000',
  MAX_SUBSCRIPTIONS_PER_CONNECTION: '1000000',
  MAX_REQUESTS_PER_MINUTE_PER_KEY: '10000000',
  MAX_REQUESTS_PER_MINUTE_PER_ADDRESS: '10000000',
  MAX_WRONG_KEYS_PER_MINUTE: '1000000',
  MAX_UPLOADS_PER_MINUTE_PER_APP: '10000000',
  MAX_QUERY_COST: '1000000000',
  MAX_QUERY_DEPTH: '50',
}

export interface Heard {
  /** Of HTTP; without the moment. */
  status: number
  headers: string
  /** Event for event, message for message; an answer that is none of either is one. */
  told: string[]
  ended: boolean
}

export interface Asked {
  heard: Heard
  /** By itself or by `end`. */
  ended: Promise<unknown>
  /** Gives up what has not ended. */
  end(): Promise<void>
}

export interface Request {
  query: string
  variables: Record<string, unknown>
  /** For `$file`. */
  file?: Buffer | undefined
}

export interface Asker extends AsyncDisposable {
  ask(request: Request): Promise<Asked>
}

export type Connect = (harness: Harness, key: string) => Promise<Asker>

const overHttp =
  (accept: string): Connect =>
  async (harness, key) => ({
    async ask({ file, ...request }) {
      const gone = new AbortController()
      const response = await harness.fetch('/graphql', {
        method: 'POST',
        signal: gone.signal,
        headers: {
          'content-type': file ? FORM_TYPE : 'application/json',
          accept,
          authorization: `Bearer ${key}`,
        },
        body: file ? formWith(request, file) : JSON.stringify(request),
      })
      const headers = [...response.headers].filter(([name]) => name !== 'date')
      const heard = {
        status: response.status,
        headers: JSON.stringify(headers),
        told: [],
        ended: false,
      } as Heard
      const read = readInto(heard, response.body!, response.headers.get('content-type') ?? '')
      return {
        heard,
        ended: read,
        async end() {
          gone.abort()
          await read
        },
      }
    },
    async [Symbol.asyncDispose]() {},
  })

const formWith = ({ variables, ...request }: Request, file: Buffer): Buffer =>
  formOf([
    { name: 'operations', body: JSON.stringify({ ...request, variables: { ...variables, file: null } }) },
    { name: 'map', body: '{"0":["variables.file"]}' },
    fileOf(file),
  ])

async function readInto(heard: Heard, body: AsyncIterable<unknown>, type: string): Promise<void> {
  let text = ''
  try {
    for await (const chunk of body) {
      text += Buffer.from(chunk as Uint8Array)
      if (!type.startsWith('text/event-stream')) continue
      const parts = text.split('\n\n')
      text = parts.pop()!
      // Comments only keep it alive.
      heard.told.push(...parts.filter(part => part !== ':'))
    }
    if (text !== '') heard.told.push(text)
    heard.ended = true
  } catch {
    // It was given up.
  }
}

const overWebSocket: Connect = async (harness, key) => {
  const socket = new WebSocket(harness.gateway.endpoint.replace('http', 'ws'), 'graphql-transport-ws')
  const operations = new Map<string, { heard: Heard; end: () => void }>()
  let closed = ''
  let acknowledged = false
  socket.on('message', data => {
    const { id, type, payload } = JSON.parse(String(data))
    if (type === 'connection_ack') acknowledged = true
    const operation = operations.get(id)
    if (operation === undefined) return
    operation.heard.told.push(JSON.stringify({ type, payload }))
    if (type === 'next') return
    operation.heard.ended = true
    operation.end()
  })
  socket.on('close', (code, reason) => {
    closed = `closed with ${code} ${reason}`
    for (const { heard, end } of operations.values()) {
      Object.assign(heard, { ended: true, headers: closed })
      end()
    }
  })
  await once(socket, 'open')
  const say = (message: object) => socket.send(JSON.stringify(message))
  say({ type: 'connection_init', payload: { authorization: `Bearer ${key}` } })
  await until(() => acknowledged || closed)
  return {
    async ask(payload) {
      if (closed !== '') throw new Error(closed)
      const id = `${operations.size}`
      const heard: Heard = { status: 0, headers: '', told: [], ended: false }
      const { promise: ended, resolve: end } = Promise.withResolvers<void>()
      operations.set(id, { heard, end })
      say({ id, type: 'subscribe', payload })
      return {
        heard,
        ended,
        async end() {
          if (!heard.ended) say({ id, type: 'complete' })
          end()
        },
      }
    },
    async [Symbol.asyncDispose]() {
      const gone = socket.readyState === WebSocket.CLOSED ? null : once(socket, 'close')
      socket.close()
      await gone
    },
  }
}

export const DOORS = [
  ['HTTP', overHttp('application/json')],
  ['SSE', overHttp('text/event-stream')],
  ['WebSocket', overWebSocket],
] as const satisfies readonly (readonly [string, Connect])[]
