/**
 * The one executor behind every door: who asks, what is read at all, what is masked.
 * Invariant: nobody learns anything before the key is known, and nothing is parsed that could fill the heap.
 */
import { BREAK, type DocumentNode, visit } from 'graphql'
import { createYoga, isAsyncIterable, type Plugin } from 'graphql-yoga'
import { LRUCache } from 'lru-cache'
import { type Context, createContext, type Services } from '../graphql/context.ts'
import { badArgument, requestError } from '../graphql/request-error.ts'
import { schema } from '../graphql/schema.ts'
import type { Authenticate, Caller } from './auth.ts'
import type { Broadcast } from './broadcast.ts'
import type { Sink, Subscriber } from './line.ts'
import { type ErrorLog, mask } from './mask.ts'

export interface YogaOptions {
  services: Services
  broadcast: Broadcast
  authenticate: Authenticate
  allowedOrigins: readonly string[]
  mostBytes: number
  log: ErrorLog
}

/** What a door knows of an operation before it runs. */
export interface Door {
  /** Over HTTP it is not known before the request is read. */
  caller?: Caller
  /** Where a subscription's payloads go. */
  sink: Sink
  lastEventId?: string
  /** What came of it, where it is a subscription: the door begins it, and ends it. */
  subscription?: Subscriber
}

export const GRAPHQL_PATH = '/graphql'
const MOST_CHARACTERS = 64 * 1024
const MOST_TOKENS = 4000
const CACHED_CHARACTERS = 512 * 1024

export type Yoga = ReturnType<typeof createExecutor>

export function createExecutor({
  services,
  broadcast,
  authenticate,
  allowedOrigins,
  mostBytes,
  log,
}: YogaOptions) {
  return createYoga<Door, Context>({
    schema,
    graphqlEndpoint: GRAPHQL_PATH,
    // No operation gets here without a caller.
    context: ({ caller }) => createContext(services, caller!.appId),
    plugins: [
      useAuthentication(authenticate),
      useDocumentBounds(),
      useFeedHead(),
      useBroadcast(broadcast),
      useEventStream(),
    ],
    parserAndValidationCache: { documentCache: createCache(), errorCache: createCache() },
    maskedErrors: { maskError: error => mask(error, log) },
    cors: allowedOrigins.length > 0 && { origin: [...allowedOrigins], methods: ['GET', 'POST'] },
    maxRequestBodySize: mostBytes,
    multipart: false,
    graphiql: false,
    landingPage: false,
    logging: false,
  })
}

/** Before anything of the body is read. */
const useAuthentication = (authenticate: Authenticate): Plugin<Context, Door> => ({
  async onRequest({ request, serverContext, endResponse, fetchAPI }) {
    const caller = await authenticate.who(request.headers.get('authorization'))
    if (caller !== null) Object.assign(serverContext ?? {}, { caller })
    else endResponse(fetchAPI.Response.json({ errors: [requestError('UNAUTHENTICATED')] }, { status: 401 }))
  },
})

/**
 * A tree takes some thirty times its text, and one nested deep enough overflows the parser's stack: both are refused
 * before they are read.
 */
const useDocumentBounds = (): Plugin<Context> => ({
  onParse({ params: { source }, parseFn, setParseFn }) {
    const length = typeof source === 'string' ? source.length : source.body.length
    if (length > MOST_CHARACTERS) throw badArgument('query', `at most ${MOST_CHARACTERS} characters`)
    setParseFn((text, options) => parseFn(text, { ...options, maxTokens: MOST_TOKENS }))
  },
})

/** Parsed documents by their text, bounded by its length: the default counts entries, and a few large ones fill the heap. */
const createCache = <Value extends object>() =>
  new LRUCache<string, Value>({
    maxSize: CACHED_CHARACTERS,
    sizeCalculation: (_value, text) => text.length + 1,
  })

/** `feedCursor` is the head before any other field is read, wherever it stands in the document. */
const useFeedHead = (): Plugin<Context> => ({
  async onExecute({ args: { document, contextValue } }) {
    if (mentions(document, 'feedCursor')) contextValue.head = (await contextValue.store.eventBounds()).head
  },
})

/** Subscriptions of every door meet here, and go back to it past what wraps each of their values: they have none. */
const useBroadcast = (broadcast: Broadcast): Plugin<Context & Door> => ({
  onSubscribe: ({ setSubscribeFn }) =>
    setSubscribeFn(async args => {
      const answer = await broadcast.subscribe(args)
      if ('next' in answer) args.contextValue.subscription = answer
      return answer
    }),
})

/** Yoga judges whether an event stream may be the answer, and makes its head; the door writes what is in it. */
const useEventStream = (): Plugin<Context, Door> => ({
  onResultProcess({ result, resultProcessor, setResultProcessor, serverContext }) {
    if (!isAsyncIterable(result)) return
    if (resultProcessor === undefined) return void delete serverContext?.subscription
    setResultProcessor(
      (_, { Response }) => new Response(null, { headers: EVENT_STREAM }),
      'text/event-stream',
    )
  },
})

const EVENT_STREAM = {
  'content-type': 'text/event-stream; charset=utf-8',
  'cache-control': 'no-cache, no-transform',
  connection: 'keep-alive',
  // Nginx would hold events back.
  'x-accel-buffering': 'no',
}

function mentions(document: DocumentNode, field: string): boolean {
  let found = false
  visit(document, {
    Field({ name }) {
      found ||= name.value === field
      return found ? BREAK : undefined
    },
  })
  return found
}
