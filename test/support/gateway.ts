/**
 * A whole gateway on a free port with its own folder, and real clients for it. `await using` closes everything.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ExecutionResult } from 'graphql'
import { createClient as createSseClient } from 'graphql-sse'
import { createClient as createWsClient } from 'graphql-ws'
import { Agent, fetch, type Response } from 'undici'
import { WebSocket } from 'ws'
import { loadConfig } from '../../src/config/config.ts'
import { createGateway, type Gateway } from '../../src/gateway/gateway.ts'
import type { GatewayOverrides } from '../../src/gateway/options.ts'
import type { ImageFetch } from '../../src/image-fetch/image-fetch.ts'

/** The result of an operation. It is loosely typed, since each test selects other fields. */
// biome-ignore lint/suspicious/noExplicitAny: the shape is the document's
export type Result = ExecutionResult<any>
export type Stream = AsyncIterableIterator<Result>

export interface LogLine {
  level: string
  message: string
  fields: Record<string, unknown>
}

export interface Harness extends AsyncDisposable {
  gateway: Gateway
  /** Key of the app "test". */
  key: string
  log: LogLine[]
  folder: string
  /** Another process may open it too. */
  databaseUrl: string
  fetch(path: string, init?: Parameters<typeof fetch>[1]): Promise<Response>
  /** Sends a POST of `application/json`. */
  query(document: string, variables?: object, key?: string): Promise<Result>
  subscribe(transport: Transport, document: string, variables?: object, key?: string): Stream
  /** Closes the gateway and starts another one on the same folder and port. */
  restart(): Promise<void>
}

export const TRANSPORTS = ['WebSocket', 'SSE'] as const
export type Transport = (typeof TRANSPORTS)[number]

export interface HarnessOptions {
  env?: Record<string, string>
  overrides?: GatewayOverrides
  /** Image URLs are fetched. Otherwise every URL is an image. */
  images?: boolean
}

const HOUR = 60 * 60 * 1000

/** Finds an image at every URL. */
const acceptAnyImage: ImageFetch = {
  checkImage: async () => ({ kind: 'image', type: 'image/png', width: 640, height: 480, bytes: null }),
  close: async () => {},
}

export async function startGateway(options: HarnessOptions = {}): Promise<Harness> {
  const { env = {}, overrides = {}, images = false } = options
  const folder = await mkdtemp(join(tmpdir(), 'rushes-'))
  const databaseUrl = env.DATABASE_URL ?? `file:${folder}/rushes.db`
  const log: LogLine[] = []
  const logAt = (level: string) => (fields: object, message: string) =>
    void log.push({ level, message, fields: { ...fields } })
  const logger = { debug: logAt('debug'), info: logAt('info'), warn: logAt('warn'), error: logAt('error') }
  const start = (port: string) =>
    createGateway(
      loadConfig({
        PORT: port,
        DATABASE_URL: databaseUrl,
        POLL_MIN_INTERVAL_MS: '50',
        POLL_MAX_INTERVAL_MS: '200',
        ...env,
      }),
      logger,
      images ? overrides : { imageFetch: acceptAnyImage, ...overrides },
    )

  // No connection outlives its request, so none is stale after a restart.
  const agent = new Agent({ pipelining: 0 })
  const cleanups: (() => unknown)[] = []
  let gateway = await start('0')
  const key = await gateway.issueKey('test', HOUR)
  const bearer = (token: string) => `Bearer ${token}`

  const harness: Harness = {
    get gateway() {
      return gateway
    },
    key,
    log,
    folder,
    databaseUrl,

    fetch: (path, init = {}) => fetch(`${gateway.url}${path}`, { dispatcher: agent, ...init }),

    async query(document, variables = {}, token = key) {
      const response = await harness.fetch('/graphql', {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: bearer(token) },
        body: JSON.stringify({ query: document, variables }),
      })
      return (await response.json()) as Result
    },

    subscribe(transport, query, variables = {}, token = key) {
      const request = { query, variables: variables as Record<string, unknown> }
      if (transport === 'WebSocket') {
        const client = createWsClient({
          url: gateway.endpoint.replace('http', 'ws'),
          webSocketImpl: WebSocket,
          connectionParams: { authorization: bearer(token) },
          retryAttempts: 0,
        })
        cleanups.push(() => client.dispose())
        return client.iterate(request) as Stream
      }
      const client = createSseClient({
        url: gateway.endpoint,
        headers: { authorization: bearer(token) },
        // The client expects the global fetch; undici's differs only in its types.
        fetchFn: (url: string, init: object) => fetch(url, { ...init, dispatcher: agent }),
        retryAttempts: 0,
      })
      cleanups.push(() => client.dispose())
      return client.iterate(request) as Stream
    },

    async restart() {
      const { port } = new URL(gateway.url)
      await gateway.close()
      gateway = await start(port)
    },

    async [Symbol.asyncDispose]() {
      for (const cleanUp of cleanups) await cleanUp()
      await agent.destroy()
      await gateway.close()
      await rm(folder, { recursive: true, force: true })
    },
  }
  return harness
}

/** Submits a job and returns its id. `prompt` may steer the simulator (`sim:seconds=0.2`). */
export async function submit(
  harness: Harness,
  prompt = 'a slow pan sim:seconds=0.2',
  key?: string,
  otherInput: object = {},
): Promise<string> {
  const document = `mutation ($input: SubmitVideoInput!) {
    submitVideo(input: $input) {
      ... on SubmitVideoPayload { prediction { id } }
      ... on Error { code }
    }
  }`
  const input = { image: { url: 'https://images.example/cat.png' }, prompt, ...otherInput }
  const { data } = await harness.query(document, { input }, key)
  return data.submitVideo.prediction.id
}

/** Returns the next `count` results. */
export async function take(stream: Stream, count: number): Promise<Result[]> {
  const taken: Result[] = []
  while (taken.length < count) {
    const { value, done } = await stream.next()
    if (done) throw new Error(`the stream ended after ${taken.length} of ${count}: ${JSON.stringify(taken)}`)
    taken.push(value)
  }
  return taken
}

/** Returns the feed items up to the one that makes `count` predictions final. */
export async function takeFinal(feed: Stream, count: number): Promise<Result['data'][]> {
  const items: Result['data'][] = []
  while (items.filter(item => FINAL_STATUSES.has(item.prediction?.status)).length < count)
    items.push((await take(feed, 1))[0]?.data.predictionFeed)
  return items
}
const FINAL_STATUSES = new Set(['COMPLETED', 'FAILED', 'CANCELED'])

/** Returns every result until the server completes the stream. */
export async function drain(stream: Stream): Promise<Result[]> {
  const all: Result[] = []
  for await (const result of stream) all.push(result)
  return all
}
