/**
 * WaveSpeed on loopback: API, webhooks, files and database.
 * Invariant: it imports nothing of the gateway.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type AccountLimitOptions, createAccountLimits } from './account-limits.ts'
import { createSimulatorApi } from './api.ts'
import { type ApiCall, parseFormFile, type ReceivedCall, type Reply, readCall } from './call.ts'
import { applyFault, type Fault, send } from './fault.ts'
import { createFiles, SAMPLE_IMAGE } from './files.ts'
import { predictionOf } from './job.ts'
import { createMedia, PUT_PATH } from './media.ts'
import { openSimulatorStore, type PendingWebhook } from './simulator-store.ts'
import { createWebhookSender, type WebhookDelivery, type WebhookFault } from './webhook-sender.ts'

export type { ApiCall, Fault, PendingWebhook, WebhookDelivery, WebhookFault }

export interface SimulatorOptions extends AccountLimitOptions {
  /** Path of the database, or `:memory:`, which ends with the process. */
  file: string
  /** The key that calls must have. */
  key: string
  /** Undefined: the port of the last start, or a free one at the first start. */
  port?: number | undefined
  /** Secret that signs webhooks; default `WEBHOOK_SECRET`. */
  webhookSecret?: string | undefined
  /** Whether list items have their `input`; default false. */
  listsInputs?: boolean | undefined
  /** Called before each API call; returns a fault to apply, or null. */
  fault?: ((call: ApiCall) => Fault | null) | undefined
  /** Called before the first attempt of each webhook; returns a fault to apply, or null. */
  webhookFault?: ((webhook: PendingWebhook) => WebhookFault | null) | undefined
}

export interface Simulator {
  readonly origin: string
  readonly sampleImage: string
  readonly webhookSecret: string
  /** API calls with the right key, and PUTs of files, in order. The last 10,000 are kept. */
  readonly calls: readonly ApiCall[]
  /** Webhooks that were sent, in the order of their answers. The last 10,000 are kept. */
  readonly webhooks: readonly WebhookDelivery[]
  /** Moves the simulator's clock forward. */
  advance(ms: number): void
  close(): Promise<void>
}

export const WEBHOOK_SECRET = 'whsec_simulator'

const API_PATH = '/api/v3'
/** Path of the older upload endpoint. */
const FORM_UPLOAD_PATH = '/media/upload/binary'
const HOST = '127.0.0.1'
/** Max calls, and max webhooks, kept for reading. */
const MAX_REMEMBERED = 10_000

/** @throws the error of `listen` if the port is in use */
export async function createSimulator(options: SimulatorOptions): Promise<Simulator> {
  const { file, key, port, webhookSecret = WEBHOOK_SECRET, listsInputs = false } = options
  const { fault = () => null, webhookFault = () => null } = options
  const store = openSimulatorStore(file)
  const closing = new AbortController()
  let clockOffsetMs = 0
  const now = () => Date.now() + clockOffsetMs
  const calls: ApiCall[] = []
  const webhooks: WebhookDelivery[] = []
  const webhookSender = createWebhookSender(
    {
      store,
      now,
      secret: webhookSecret,
      toPrediction: job => predictionOf(job, now(), origin),
      fault: webhookFault,
    },
    delivery => remember(webhooks, delivery),
  )
  const media = createMedia(store, now, () => origin)
  const api = createSimulatorApi({
    store,
    accountLimits: createAccountLimits(store, now, options),
    media,
    now,
    origin: () => origin,
    listsInputs,
    webhookSecret,
    onWebhookPending: webhookSender.sendDue,
  })

  const files = createFiles(store, media, now)

  async function answerCall(
    request: IncomingMessage,
    response: ServerResponse,
    path: string,
    query: string,
  ): Promise<void> {
    if (request.headers.authorization !== `Bearer ${key}`)
      return send(response, { status: 401, body: { code: 401, message: 'invalid API key', data: null } })
    const received = await readCall(request, path, query)
    const { call, data } = received
    if (call.method !== 'POST' || path !== FORM_UPLOAD_PATH)
      return respond(response, received, () => api.handle(call))
    const file = await parseFormFile(request, data)
    const bytes = file ? Buffer.from(await file.arrayBuffer()) : data
    await respond(response, received, () => media.uploadForm(file, bytes))
  }

  async function answerPut(request: IncomingMessage, response: ServerResponse, path: string): Promise<void> {
    const received = await readCall(request, path, '')
    const id = path.slice(PUT_PATH.length)
    await respond(response, received, () => media.putFile(id, request.headers, received.data))
  }

  async function respond(
    response: ServerResponse,
    { call }: ReceivedCall,
    takeEffect: () => Reply,
  ): Promise<void> {
    remember(calls, call)
    const injectedFault = fault(call)
    if (injectedFault === null) return send(response, takeEffect())
    await applyFault(injectedFault, {
      response,
      takeEffect,
      whenSent: webhookSender.whenSent,
      signal: closing.signal,
    })
  }

  const server = createServer((request, response) => {
    // The Date header uses the same clock as the jobs' times.
    response.setHeader('date', new Date(now()).toUTCString())
    const [path = '/', query = ''] = (request.url ?? '/').split(/\?(.*)/s)
    if (request.method === 'PUT' && path.startsWith(PUT_PATH))
      return void answerPut(request, response, path).catch(() => response.destroy())
    if (!path.startsWith(`${API_PATH}/`)) return files.serve(request, response, path)
    answerCall(request, response, path.slice(API_PATH.length), query).catch(() => response.destroy())
  })

  const savedPort = port ?? store.port()
  try {
    await new Promise<void>((resolve, reject) =>
      server.once('error', reject).listen(savedPort ?? 0, HOST, resolve),
    )
  } catch (error) {
    await webhookSender.close()
    store.close()
    throw error
  }
  const boundPort = (server.address() as AddressInfo).port
  store.savePort(boundPort)
  const origin = `http://${HOST}:${boundPort}`
  webhookSender.sendDue()

  return {
    origin,
    sampleImage: `${origin}${SAMPLE_IMAGE}`,
    webhookSecret,
    calls,
    webhooks,
    advance(ms) {
      clockOffsetMs += ms
      webhookSender.sendDue()
    },
    async close() {
      closing.abort()
      const closed = new Promise(resolve => server.close(resolve))
      server.closeAllConnections()
      await webhookSender.close()
      await closed
      store.close()
    },
  }
}

function remember<Item>(memory: Item[], item: Item): void {
  memory.push(item)
  if (memory.length > MAX_REMEMBERED) memory.shift()
}
