/**
 * The one path from a document's text to its result, whichever door it came through: parsed and validated once a text,
 * judged by what it would cost, executed, masked. Yoga's chain of plugins does it, whole, for all of them.
 * Invariant: nothing of an operation runs before each plugin has had its say, and what comes out has been masked.
 */
import {
  type DocumentNode,
  type ExecutionArgs,
  type ExecutionResult,
  GraphQLError,
  getOperationAST,
} from 'graphql'
import { createYoga, type Plugin } from 'graphql-yoga'
import { LRUCache } from 'lru-cache'
import type { Authenticate } from '../../auth/authenticate.ts'
import { type Context, createContext, type Services } from '../../graphql/context.ts'
import { type ErrorLog, mask } from '../../graphql/error-mask.ts'
import { schema } from '../../graphql/schema.ts'
import type { Broadcast } from '../../subscriptions/fan-out.ts'
import type { Rates } from '../limits/rate-limits.ts'
import { mustStand, usePermission } from './admission.ts'
import { useDocumentBounds, useSecrecy } from './document-limits.ts'
import { useFeedHead } from './feed-cursor-plugin.ts'
import { useForms } from './multipart-plugin.ts'
import {
  type Asked,
  type Door,
  GRAPHQL_PATH,
  type Operation,
  type Read,
  type Unreadable,
} from './operation.ts'
import { type CostOptions, useCost } from './query-cost.ts'
import { useEventStream, useOnePath, useReadableRequest } from './yoga-plugins.ts'

export interface Executor {
  read: Read
  /** What is rare comes in through yoga's own HTTP, and its operations through here. */
  yoga: Yoga
}

export interface ExecutorOptions {
  services: Services
  broadcast: Broadcast
  authenticate: Authenticate
  rates: Pick<Rates, 'ofUpload'>
  mostBytes: number
  limits: Pick<CostOptions, 'mostCost' | 'deepest'>
  allowIntrospection: boolean
  log: ErrorLog
}

export type Yoga = ReturnType<typeof createYoga<Door, Context>>

const CACHED_CHARACTERS = 1024 * 1024
/** What a parsed document takes beside its text counts as so much of it, or tens of thousands of small ones would fit. */
const OVERHEAD = 1024

export function createExecutor(options: ExecutorOptions): Executor {
  const { services, broadcast, authenticate, rates, mostBytes, limits, allowIntrospection, log } = options

  /** By their text, bounded by its length: yoga's own counts entries, and a few large ones fill the heap. */
  const documentCache = new LRUCache<string, DocumentNode>({
    maxSize: CACHED_CHARACTERS,
    sizeCalculation: (_, text) => text.length + OVERHEAD,
  })
  const valid = new WeakSet<DocumentNode>()

  const yoga: Yoga = createYoga<Door, Context>({
    schema,
    graphqlEndpoint: GRAPHQL_PATH,
    context: async asked => {
      await mustStand(authenticate, asked)
      return createContext(services, asked.caller)
    },
    plugins: [
      useForms(rates, services),
      useReadableRequest(),
      useOnePath(read),
      useDocumentBounds(),
      usePermission(),
      useSecrecy(allowIntrospection),
      useCost({ ...limits, hints: allowIntrospection }),
      useFeedHead(),
      useBroadcast(broadcast),
      useEventStream(),
    ],
    parserAndValidationCache: { documentCache, errorCache: NOTHING_KEPT },
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

  async function read(asked: Asked): Promise<Operation | Unreadable> {
    const { params } = asked
    const { schema, parse, validate, contextFactory, execute, subscribe } = yoga.getEnveloped(asked)
    try {
      const known = documentCache.get(params.query ?? '')
      // Yoga's own rules look at the request itself each time.
      const isValid = known !== undefined && valid.has(known) && !asked.request
      const document: DocumentNode = isValid ? known : parse(params.query)
      const kind = getOperationAST(document, params.operationName)?.operation
      if (kind === undefined) return { errors: [noOperation()] }
      if (!isValid) {
        const errors = validate(schema, document)
        if (errors.length > 0) {
          documentCache.delete(params.query ?? '')
          return { errors }
        }
        valid.add(document)
      }
      const isElsewhere = kind === 'subscription' && !asked.sink
      const args: ExecutionArgs = {
        schema,
        document,
        contextValue: isElsewhere ? null : await contextFactory(),
        variableValues: params.variables,
        operationName: params.operationName,
      }
      return {
        document,
        kind,
        run: () => run(asked, kind, kind === 'subscription' ? subscribe : execute, args),
      }
    } catch (error) {
      return { errors: [mask(error, log)] }
    }
  }

  async function run(
    asked: Asked,
    kind: Operation['kind'],
    go: (args: ExecutionArgs) => ExecutionResult | Promise<ExecutionResult>,
    args: ExecutionArgs,
  ) {
    // Nobody would read it; what a mutation does counts all the same.
    if (kind === 'query' && asked.isGone()) return NOTHING
    try {
      const answer = await go(args)
      return asked.subscription ?? answer
    } catch (error) {
      return { errors: [mask(error, log)] }
    }
  }

  return { read, yoga }
}

const NOTHING: ExecutionResult = { data: null }

/** An error keeps its stack, and that the whole request: 66 KB of a document of five characters. */
const NOTHING_KEPT = { get: () => undefined, set() {} }

/** In yoga's words. */
const noOperation = (): GraphQLError =>
  new GraphQLError('Could not determine what operation to execute.', {
    extensions: { code: 'OPERATION_RESOLUTION_FAILURE', http: { status: 400 } },
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
