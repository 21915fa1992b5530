/**
 * The one executor behind every door: who asks, what is read at all, what is masked.
 * Invariant: nobody learns anything before the key is known, and nothing is parsed that could fill the heap.
 */
import { BREAK, type DocumentNode, visit } from 'graphql'
import { createYoga, type Plugin } from 'graphql-yoga'
import { LRUCache } from 'lru-cache'
import { type Context, createContext, type Services } from '../graphql/context.ts'
import { badArgument, requestError } from '../graphql/request-error.ts'
import { schema } from '../graphql/schema.ts'
import type { AppId } from '../prediction.ts'
import type { Authenticate } from './auth.ts'
import { type ErrorLog, mask } from './mask.ts'

export interface YogaOptions {
  services: Services
  authenticate: Authenticate
  allowedOrigins: readonly string[]
  log: ErrorLog
}

/** What a door knows of an operation before it runs. */
export interface Caller {
  appId: AppId
}

export const GRAPHQL_PATH = '/graphql'
/** A document, its variables and 4 KiB of metadata fit many times over. */
export const MOST_BYTES = 1024 * 1024
const MOST_CHARACTERS = 64 * 1024
const MOST_TOKENS = 4000
const CACHED_CHARACTERS = 512 * 1024

export type Yoga = ReturnType<typeof createExecutor>

export function createExecutor({ services, authenticate, allowedOrigins, log }: YogaOptions) {
  return createYoga<Caller, Context>({
    schema,
    graphqlEndpoint: GRAPHQL_PATH,
    context: ({ appId }) => createContext(services, appId),
    plugins: [useAuthentication(authenticate), useDocumentBounds(), useFeedHead()],
    parserAndValidationCache: { documentCache: createCache(), errorCache: createCache() },
    maskedErrors: { maskError: error => mask(error, log) },
    cors: allowedOrigins.length > 0 && { origin: [...allowedOrigins], methods: ['GET', 'POST'] },
    maxRequestBodySize: MOST_BYTES,
    multipart: false,
    graphiql: false,
    landingPage: false,
    logging: false,
  })
}

/** Before anything of the body is read. */
const useAuthentication = (authenticate: Authenticate): Plugin<Context, Caller> => ({
  async onRequest({ request, serverContext, endResponse, fetchAPI }) {
    const appId = await authenticate(request.headers.get('authorization'))
    if (appId !== null) Object.assign(serverContext ?? {}, { appId })
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
