/**
 * The page's client of the gateway: requests over HTTP, the feed over one WebSocket that reconnects by itself.
 * Invariant: the key is sent only to this page's origin, in a header or in `connection_init`, and never in a URL.
 */
import { createClient } from 'graphql-ws'
import { resumable, type Sink } from '../client/resumable.ts'
import type { MutationResult } from './documents.ts'

/** A request failed. The message is shown to the user. */
export class RequestFailed extends Error {
  override name = 'RequestFailed'
  /** The key is invalid or was revoked. */
  readonly isInvalidKey: boolean
  constructor(message: string, isInvalidKey = false) {
    super(message)
    this.isInvalidKey = isInvalidKey
  }
}

export interface GatewayApi {
  request<Data>(query: string, variables?: object): Promise<Data>
  /** Sends a mutation whose field has the alias `answer`. */
  mutate(query: string, input: object): Promise<MutationResult>
  /** Sends such a mutation with a file at `input.file`, as a GraphQL multipart request. */
  uploadFile(query: string, file: File): Promise<MutationResult>
  subscribe(query: string, variables: Record<string, unknown>, sink: Sink): () => void
  /** The gateway's clock, Unix milliseconds, even if this machine's clock is wrong. */
  now(): number
  close(): void
}

export interface GatewayApiOptions {
  key: string
  /** Called when the WebSocket has connected or closed. */
  onConnectionChange(isConnected: boolean): void
}

const INVALID_KEY_MESSAGE = 'This key is not known here, or is no longer good.'
const ENDPOINT = new URL('/graphql', location.href)
/** The gateway's close code for an invalid key. After a key was revoked, the next connection gets it, too. */
const CLOSE_UNAUTHORIZED = 4401
/** A connection that does not answer a ping within this time is dead. */
const PONG_TIMEOUT_MS = 5000
/** A request without an answer has failed after this time. An upload may take longer. */
const REQUEST_TIMEOUT_MS = 20_000
const UPLOAD_TIMEOUT_MS = 5 * 60_000
/** A smaller difference between the clocks is ignored. */
const MIN_CLOCK_SKEW_MS = 2000
const MAX_RETRY_WAIT_MS = 5000

export function createGatewayApi({ key, onConnectionChange }: GatewayApiOptions): GatewayApi {
  const authorization = `Bearer ${key}`
  let clockSkewMs = 0
  let pongTimer: ReturnType<typeof setTimeout> | undefined

  const client = createClient({
    url: ENDPOINT.href.replace('http', 'ws'),
    connectionParams: { authorization },
    keepAlive: 10_000,
    retryAttempts: Number.POSITIVE_INFINITY,
    shouldRetry: () => true,
    retryWait: retries => wait(Math.min(MAX_RETRY_WAIT_MS, 250 * 2 ** retries) * (0.5 + Math.random() / 2)),
    on: {
      connected: () => onConnectionChange(true),
      closed: () => onConnectionChange(false),
      ping: isReceived => {
        if (!isReceived) pongTimer = setTimeout(() => client.terminate(), PONG_TIMEOUT_MS)
      },
      pong: isReceived => {
        if (isReceived) clearTimeout(pongTimer)
      },
    },
  })
  const resumableClient = resumable(client)

  async function post(body: BodyInit, headers: Record<string, string>, timeoutMs: number): Promise<Response> {
    try {
      return await fetch(ENDPOINT, {
        method: 'POST',
        headers: { accept: 'application/json', authorization, ...headers },
        body,
        signal: AbortSignal.timeout(timeoutMs),
      })
    } catch {
      throw new RequestFailed('The gateway can’t be reached.')
    }
  }

  async function read<Data>(response: Response): Promise<Data> {
    const measuredSkewMs = Date.parse(response.headers.get('date') ?? '') + 500 - Date.now()
    if (!Number.isNaN(measuredSkewMs))
      clockSkewMs = Math.abs(measuredSkewMs) < MIN_CLOCK_SKEW_MS ? 0 : measuredSkewMs
    const { data, errors } = await response.json().catch(() => ({}))
    if (response.status === 401) throw new RequestFailed(INVALID_KEY_MESSAGE, true)
    // A token without READ cannot open the page, so another key is needed.
    if (errors?.length > 0)
      throw new RequestFailed(errors[0].message, errors[0].extensions?.code === 'FORBIDDEN')
    if (!data) throw new RequestFailed(`The gateway answered ${response.status}.`)
    return data
  }

  async function request<Data>(query: string, variables: object = {}): Promise<Data> {
    const body = JSON.stringify({ query, variables })
    return read(await post(body, { 'content-type': 'application/json' }, REQUEST_TIMEOUT_MS))
  }

  return {
    request,
    mutate: async (query, input) => (await request<{ answer: MutationResult }>(query, { input })).answer,

    async uploadFile(query, file) {
      const form = new FormData()
      form.set('operations', JSON.stringify({ query, variables: { input: { file: null } } }))
      form.set('map', JSON.stringify({ 0: ['variables.input.file'] }))
      form.set('0', file)
      return (await read<{ answer: MutationResult }>(await post(form, {}, UPLOAD_TIMEOUT_MS))).answer
    },

    subscribe: (query, variables, sink) =>
      resumableClient.subscribe(
        { query, variables },
        {
          ...sink,
          next: result => sink.next(result),
          complete: () => sink.complete(),
          error: error => {
            const { code, reason } = error as Partial<CloseEvent>
            sink.error(
              code === CLOSE_UNAUTHORIZED
                ? new RequestFailed(INVALID_KEY_MESSAGE, true)
                : new RequestFailed(reason || 'The feed was refused.'),
            )
          },
        },
      ),

    now: () => Date.now() + clockSkewMs,
    close: () => void client.dispose(),
  }
}

const wait = (ms: number) => new Promise<void>(resolve => setTimeout(resolve, ms))
