/**
 * The one executor behind every door: who asks, what is read at all, what is masked.
 * Invariant: nobody learns anything before the key is known, and nothing is parsed that could fill the heap.
 */
import { BREAK, type DocumentNode, visit } from 'graphql'
import { createYoga, isAsyncIterable, type Plugin } from 'graphql-yoga'
import { LRUCache } from 'lru-cache'
import { type Context, createContext, type Services } from '../graphql/context.ts'
import { badArgument } from '../graphql/request-error.ts'
import { schema } from '../graphql/schema.ts'
import { mustStand, useAuthentication, usePermission } from './admission.ts'
import type { Authenticate, Caller } from './auth.ts'
import type { Broadcast } from './broadcast.ts'
import { type CostOptions, useCost } from './cost.ts'
import { useDocumentBounds, useSecrecy } from './document.ts'
import { type Filed, useForms } from './forms.ts'
import type { Sink, Subscriber } from './line.ts'
import { type ErrorLog, mask } from './mask.ts'
import type { Rates } from './rates.ts'

export interface YogaOptions {
  services: Services
  broadcast: Broadcast
  authenticate: Authenticate
  rates: Pick<Rates, 'ofCaller' | 'ofUpload'>
  mostBytes: number
  limits: Pick<CostOptions, 'mostCost' | 'deepest'>
  allowIntrospection: boolean
  log: ErrorLog
}

/** What a door knows of an operation before it runs. */
export interface Door {
  /** Over HTTP it is not known before the request is read. */
  caller?: Caller
  /** The client's. */
  address: string
  /** Where a subscription's payloads go. */
  sink: Sink
  lastEventId?: string
  /** The file that came with it. */
  filed?: Filed
  /** What came of it, where it is a subscription: the door begins it, and ends it. */
  subscription?: Subscriber
}

export const GRAPHQL_PATH = '/graphql'
const CACHED_CHARACTERS = 512 * 1024

export type Yoga = ReturnType<typeof createExecutor>

export function createExecutor({
  services,
  broadcast,
  authenticate,
  rates,
  mostBytes,
  limits,
  allowIntrospection,
  log,
}: YogaOptions) {
  return createYoga<Door, Context>({
    schema,
    graphqlEndpoint: GRAPHQL_PATH,
    // No operation gets here without a caller.
    context: async ({ caller }) => {
      await mustStand(authenticate, caller!)
      return createContext(services, caller!)
    },
    plugins: [
      useAuthentication(authenticate, rates, services),
      useForms(rates, services),
      useReadableRequest(),
      useDocumentBounds(),
      usePermission(),
      useSecrecy(allowIntrospection),
      useCost({ ...limits, hints: allowIntrospection }),
      useFeedHead(),
      useBroadcast(broadcast),
      useEventStream(),
    ],
    parserAndValidationCache: { documentCache: createCache(), errorCache: createCache() },
    maskedErrors: { maskError: error => mask(error, log) },
    cors: false,
    batching: false,
    maxRequestBodySize: mostBytes,
    // Forms have a way of their own.
    multipart: false,
    graphiql: false,
    landingPage: false,
    logging: false,
  })
}

/** Yoga answers for a body that is no JSON, and not for parameters that are none, nor for a form that is cut short. */
const useReadableRequest = (): Plugin => ({
  onRequestParse: ({ requestParser, setRequestParser }) =>
    requestParser &&
    setRequestParser(async request => {
      try {
        return await requestParser(request)
      } catch (error) {
        const isCut = (error as NodeJS.ErrnoException).code === 'ECONNRESET'
        if (!(error instanceof SyntaxError) && !isCut) throw error
        const unreadable = badArgument('variables, extensions', 'JSON')
        unreadable.extensions.http = { status: 400 }
        throw unreadable
      }
    }),
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
