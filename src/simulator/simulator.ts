/**
 * WaveSpeed on loopback: its API, its files, its memory. A house of its own: it imports nothing of the gateway.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import send from 'send'
import { createApi } from './api.ts'
import { isCompleted, isKept } from './job.ts'
import { openLedger } from './ledger.ts'

export interface SimulatorOptions {
  /** Where jobs and port are kept; `:memory:` keeps them for this run. */
  file: string
  /** The key it asks for. */
  key: string
  /** Undefined: the port of the last start, or at the first a free one. */
  port?: number | undefined
  /** Asked before each API call: a fault to answer with instead, or in front of the real answer. */
  fault?: (call: Call) => Fault | null
}

export interface Call {
  method: string
  path: string
  body: unknown
}

/**
 * What goes wrong: an answer of another's making; or a connection that is cut or left hanging, before the call took
 * effect or after.
 */
export type Fault =
  | { status: number; body: string; headers?: Record<string, string> }
  | { cut: 'before' | 'after' }
  | { stall: 'before' | 'after' }

export interface Simulator {
  readonly origin: string
  readonly sampleImage: string
  /** Calls that reached the API with the right key, in order. */
  readonly calls: readonly Call[]
  /** Moves its clock ahead. */
  advance(ms: number): void
  close(): Promise<void>
}

const ASSETS = fileURLToPath(new URL('./assets', import.meta.url))
const HOST = '127.0.0.1'
/** Calls it remembers. */
const MEMORY = 10_000

/** @throws the error of `listen`, where the port is taken */
export async function createSimulator({
  file,
  key,
  port,
  fault = () => null,
}: SimulatorOptions): Promise<Simulator> {
  const ledger = openLedger(file)
  let ahead = 0
  const now = () => Date.now() + ahead
  const calls: Call[] = []
  const api = createApi(ledger, now, () => origin)

  async function answerCall(request: IncomingMessage, response: ServerResponse, path: string): Promise<void> {
    if (request.headers.authorization !== `Bearer ${key}`)
      return json(response, 401, { code: 401, message: 'invalid API key', data: null })
    const call = { method: request.method ?? '', path, body: parsed(await text(request)) }
    calls.push(call)
    if (calls.length > MEMORY) calls.shift()

    const wrong = fault(call)
    if (wrong === null) {
      const { status, body } = api.answer(call.method, path, call.body)
      return json(response, status, body)
    }
    if ('status' in wrong) return void response.writeHead(wrong.status, wrong.headers).end(wrong.body)
    if (Object.values(wrong)[0] === 'after') api.answer(call.method, path, call.body)
    if ('cut' in wrong) request.socket.destroy()
  }

  function answerFile(request: IncomingMessage, response: ServerResponse, path: string): void {
    response.setHeader('access-control-allow-origin', '*')
    const id = /^\/files\/(\w+)\.mp4$/.exec(path)?.[1]
    const job = id === undefined ? null : ledger.get(id)
    const asset =
      path === '/files/sample.jpg'
        ? 'sample.jpg'
        : job !== null && isKept(job, now()) && isCompleted(job, now())
          ? 'sample.mp4'
          : null
    if (asset === null) return void json(response, 404, { code: 404, message: 'not found', data: null })
    send(request, asset, { root: ASSETS }).pipe(response)
  }

  const server = createServer((request, response) => {
    const path = (request.url ?? '/').split('?')[0] ?? '/'
    if (!path.startsWith('/api/v3/')) return answerFile(request, response, path)
    answerCall(request, response, path.slice('/api/v3'.length)).catch(() => response.destroy())
  })

  const kept = port ?? ledger.port()
  try {
    await new Promise<void>((resolve, reject) =>
      server.once('error', reject).listen(kept ?? 0, HOST, resolve),
    )
  } catch (error) {
    ledger.close()
    throw error
  }
  const bound = (server.address() as AddressInfo).port
  ledger.keepPort(bound)
  const origin = `http://${HOST}:${bound}`

  return {
    origin,
    sampleImage: `${origin}/files/sample.jpg`,
    calls,
    advance: ms => {
      ahead += ms
    },
    async close() {
      const closed = new Promise(resolve => server.close(resolve))
      server.closeAllConnections()
      await closed
      ledger.close()
    },
  }
}

function json(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}

function parsed(body: string): unknown {
  try {
    return JSON.parse(body)
  } catch {
    return undefined
  }
}
