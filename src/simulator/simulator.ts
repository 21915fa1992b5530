/**
 * WaveSpeed on loopback: its API, its webhooks, its files, its memory. A house of its own: it imports nothing of the gateway.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type AccountOptions, createAccount } from './account-limits.ts'
import { createApi } from './api.ts'
import { type Call, type Delivered, fileIn, type Reply, readCall } from './call.ts'
import { type Fault, goWrong, send } from './fault.ts'
import { createFiles, SAMPLE_IMAGE } from './files.ts'
import { predictionOf } from './job.ts'
import { createMedia, PUT_PATH } from './media.ts'
import { openLedger, type Webhook } from './simulator-store.ts'
import { createAnnouncer, type Delivery, type WebhookFault } from './webhook-sender.ts'

export type { Call, Delivery, Fault, Webhook, WebhookFault }

export interface SimulatorOptions extends AccountOptions {
  /** Where jobs, webhooks and port are kept; `:memory:` keeps them for this run. */
  file: string
  /** The key it asks for. */
  key: string
  /** Undefined: the port of the last start, or at the first a free one. */
  port?: number | undefined
  /** What its webhooks are signed with. */
  webhookSecret?: string | undefined
  /** The items of the list have their `input`; by default they lack it. */
  listsInputs?: boolean | undefined
  /** Asked before each API call: a fault to answer with instead, or in front of the real answer. */
  fault?: ((call: Call) => Fault | null) | undefined
  /** Asked before a webhook is sent for the first time. */
  webhookFault?: ((webhook: Webhook) => WebhookFault | null) | undefined
}

export interface Simulator {
  readonly origin: string
  readonly sampleImage: string
  readonly webhookSecret: string
  /** Calls that reached the API with the right key, and PUTs of files, in order. */
  readonly calls: readonly Call[]
  /** Webhooks that were sent, in the order of their answers. */
  readonly webhooks: readonly Delivery[]
  /** Moves its clock ahead. */
  advance(ms: number): void
  close(): Promise<void>
}

export const WEBHOOK_SECRET = 'whsec_simulator'

const API = '/api/v3'
/** The older way to hand over a file. */
const BINARY = '/media/upload/binary'
const HOST = '127.0.0.1'
/** Calls and webhooks it remembers. */
const MEMORY = 10_000

/** @throws the error of `listen`, where the port is taken */
export async function createSimulator(options: SimulatorOptions): Promise<Simulator> {
  const { file, key, port, webhookSecret = WEBHOOK_SECRET, listsInputs = false } = options
  const { fault = () => null, webhookFault = () => null } = options
  const ledger = openLedger(file)
  const closing = new AbortController()
  let ahead = 0
  const now = () => Date.now() + ahead
  const calls: Call[] = []
  const webhooks: Delivery[] = []
  const announcer = createAnnouncer(
    {
      ledger,
      now,
      secret: webhookSecret,
      prediction: job => predictionOf(job, now(), origin),
      fault: webhookFault,
    },
    delivery => remember(webhooks, delivery),
  )
  const media = createMedia(ledger, now, () => origin)
  const api = createApi({
    ledger,
    account: createAccount(ledger, now, options),
    media,
    now,
    origin: () => origin,
    listsInputs,
    webhookSecret,
    owed: announcer.look,
  })

  const files = createFiles(ledger, media, now)

  async function answerCall(
    request: IncomingMessage,
    response: ServerResponse,
    path: string,
    query: string,
  ): Promise<void> {
    if (request.headers.authorization !== `Bearer ${key}`)
      return send(response, { status: 401, body: { code: 401, message: 'invalid API key', data: null } })
    const delivered = await readCall(request, path, query)
    const { call, data } = delivered
    if (call.method !== 'POST' || path !== BINARY) return act(response, delivered, () => api.answer(call))
    const file = await fileIn(request, data)
    const bytes = file ? Buffer.from(await file.arrayBuffer()) : data
    await act(response, delivered, () => media.form(file, bytes))
  }

  async function answerPut(request: IncomingMessage, response: ServerResponse, path: string): Promise<void> {
    const delivered = await readCall(request, path, '')
    const id = path.slice(PUT_PATH.length)
    await act(response, delivered, () => media.put(id, request.headers, delivered.data))
  }

  async function act(response: ServerResponse, { call }: Delivered, take: () => Reply): Promise<void> {
    remember(calls, call)
    const wrong = fault(call)
    if (wrong === null) return send(response, take())
    await goWrong(wrong, { response, take, announced: announcer.announced, signal: closing.signal })
  }

  const server = createServer((request, response) => {
    // One clock: that of the moments it tells of its jobs.
    response.setHeader('date', new Date(now()).toUTCString())
    const [path = '/', query = ''] = (request.url ?? '/').split(/\?(.*)/s)
    if (request.method === 'PUT' && path.startsWith(PUT_PATH))
      return void answerPut(request, response, path).catch(() => response.destroy())
    if (!path.startsWith(`${API}/`)) return files.answer(request, response, path)
    answerCall(request, response, path.slice(API.length), query).catch(() => response.destroy())
  })

  const kept = port ?? ledger.port()
  try {
    await new Promise<void>((resolve, reject) =>
      server.once('error', reject).listen(kept ?? 0, HOST, resolve),
    )
  } catch (error) {
    await announcer.close()
    ledger.close()
    throw error
  }
  const bound = (server.address() as AddressInfo).port
  ledger.keepPort(bound)
  const origin = `http://${HOST}:${bound}`
  announcer.look()

  return {
    origin,
    sampleImage: `${origin}${SAMPLE_IMAGE}`,
    webhookSecret,
    calls,
    webhooks,
    advance(ms) {
      ahead += ms
      announcer.look()
    },
    async close() {
      closing.abort()
      const closed = new Promise(resolve => server.close(resolve))
      server.closeAllConnections()
      await announcer.close()
      await closed
      ledger.close()
    },
  }
}

function remember<Item>(memory: Item[], item: Item): void {
  memory.push(item)
  if (memory.length > MEMORY) memory.shift()
}
