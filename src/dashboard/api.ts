/**
 * The gateway as this page asks it: questions over HTTP, the feed over one WebSocket that comes back by itself.
 * Invariant: the key goes to this page's own origin, in a header or in `connection_init`, and never into an address.
 */
import { createClient } from 'graphql-ws'
import { resumable, type Sink } from '../client/resumable.ts'
import type { Answer } from './documents.ts'

/** What was asked for is not there, and why, in words for whoever looks at the page. */
export class Unanswered extends Error {
  override name = 'Unanswered'
  /** The key is none, or none any more. */
  readonly isKey: boolean
  constructor(message: string, isKey = false) {
    super(message)
    this.isKey = isKey
  }
}

export interface Api {
  ask<Data>(query: string, variables?: object): Promise<Data>
  /** A mutation whose field is called `answer`. */
  tell(query: string, input: object): Promise<Answer>
  /** The same with a file at `input.file`, as a GraphQL multipart request. */
  send(query: string, file: File): Promise<Answer>
  watch(query: string, variables: Record<string, unknown>, sink: Sink): () => void
  /** The gateway's clock, ms, whatever this machine's says. */
  now(): number
  close(): void
}

export interface ApiOptions {
  key: string
  /** Whether the WebSocket stands. */
  onLink(isUp: boolean): void
}

const WRONG_KEY = 'This key is not known here, or is no longer good.'
const ENDPOINT = new URL('/graphql', location.href)
/** The gateway closes with it where the key is none; one that was taken back ends there, too. */
const NO_KEY = 4401
/** A connection that doesn't answer a ping so long is dead. */
const PONG_MS = 5000
/** A request that hangs is one that failed; a file may take longer. */
const PATIENCE_MS = 20_000
const UPLOAD_PATIENCE_MS = 5 * 60_000
/** A clock that is off by less makes no difference to anybody. */
const LEAST_SKEW_MS = 2000
const MOST_WAIT_MS = 5000

export function createApi({ key, onLink }: ApiOptions): Api {
  const authorization = `Bearer ${key}`
  let skew = 0
  let dead: ReturnType<typeof setTimeout> | undefined

  const client = createClient({
    url: ENDPOINT.href.replace('http', 'ws'),
    connectionParams: { authorization },
    keepAlive: 10_000,
    retryAttempts: Number.POSITIVE_INFINITY,
    shouldRetry: () => true,
    retryWait: tries => wait(Math.min(MOST_WAIT_MS, 250 * 2 ** tries) * (0.5 + Math.random() / 2)),
    on: {
      connected: () => onLink(true),
      closed: () => onLink(false),
      ping: isReceived => {
        if (!isReceived) dead = setTimeout(() => client.terminate(), PONG_MS)
      },
      pong: isReceived => {
        if (isReceived) clearTimeout(dead)
      },
    },
  })
  const feed = resumable(client)

  async function post(body: BodyInit, headers: Record<string, string>, patience: number): Promise<Response> {
    try {
      return await fetch(ENDPOINT, {
        method: 'POST',
        headers: { accept: 'application/json', authorization, ...headers },
        body,
        signal: AbortSignal.timeout(patience),
      })
    } catch {
      throw new Unanswered('The gateway can’t be reached.')
    }
  }

  async function read<Data>(response: Response): Promise<Data> {
    const skewed = Date.parse(response.headers.get('date') ?? '') + 500 - Date.now()
    if (!Number.isNaN(skewed)) skew = Math.abs(skewed) < LEAST_SKEW_MS ? 0 : skewed
    const { data, errors } = await response.json().catch(() => ({}))
    if (response.status === 401) throw new Unanswered(WRONG_KEY, true)
    // A token that may not read opens no page: whoever has it needs another one.
    if (errors?.length > 0)
      throw new Unanswered(errors[0].message, errors[0].extensions?.code === 'FORBIDDEN')
    if (!data) throw new Unanswered(`The gateway answered ${response.status}.`)
    return data
  }

  async function ask<Data>(query: string, variables: object = {}): Promise<Data> {
    const body = JSON.stringify({ query, variables })
    return read(await post(body, { 'content-type': 'application/json' }, PATIENCE_MS))
  }

  return {
    ask,
    tell: async (query, input) => (await ask<{ answer: Answer }>(query, { input })).answer,

    async send(query, file) {
      const form = new FormData()
      form.set('operations', JSON.stringify({ query, variables: { input: { file: null } } }))
      form.set('map', JSON.stringify({ 0: ['variables.input.file'] }))
      form.set('0', file)
      return (await read<{ answer: Answer }>(await post(form, {}, UPLOAD_PATIENCE_MS))).answer
    },

    watch: (query, variables, sink) =>
      feed.subscribe(
        { query, variables },
        {
          ...sink,
          next: result => sink.next(result),
          complete: () => sink.complete(),
          error: error => {
            const { code, reason } = error as Partial<CloseEvent>
            sink.error(
              code === NO_KEY
                ? new Unanswered(WRONG_KEY, true)
                : new Unanswered(reason || 'The feed was refused.'),
            )
          },
        },
      ),

    now: () => Date.now() + skew,
    close: () => void client.dispose(),
  }
}

const wait = (ms: number) => new Promise<void>(resolve => setTimeout(resolve, ms))
