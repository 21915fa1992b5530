/**
 * Runs the operations of every transport: parsed and validated once per document, limited by cost, executed,
 * masked. Yoga's chain of plugins does all of it.
 * Invariant: no resolver runs before every plugin has checked the operation, and every result is masked.
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
import { type ErrorLog, maskError } from '../../graphql/error-mask.ts'
import { schema } from '../../graphql/schema.ts'
import type { FanOut } from '../../subscriptions/fan-out.ts'
import type { RateLimits } from '../limits/rate-limits.ts'
import { assertCredentialStillValid, useReadPermission } from './admission.ts'
import { useDocumentLimits, useHiddenSchema } from './document-limits.ts'
import { useFeedCursor } from './feed-cursor-plugin.ts'
import { useMultipart } from './multipart-plugin.ts'
import {
  GRAPHQL_PATH,
  type InvalidOperation,
  type OperationRequest,
  type PreparedOperation,
  type PrepareOperation,
  type TransportRequest,
} from './operation.ts'
import { type CostOptions, useQueryCost } from './query-cost.ts'
import { useBadRequestErrors, useEventStream, useSharedExecutor } from './yoga-plugins.ts'

export interface Executor {
  prepare: PrepareOperation
  /** Yoga's own HTTP serves the rare kinds of requests. It runs their operations through `prepare`. */
  yoga: Yoga
}

export interface ExecutorOptions {
  services: Services
  fanOut: FanOut
  authenticate: Authenticate
  rateLimits: Pick<RateLimits, 'consumeUpload'>
  maxMessageBytes: number
  limits: Pick<CostOptions, 'maxQueryCost' | 'maxQueryDepth'>
  allowIntrospection: boolean
  log: ErrorLog
}

export type Yoga = ReturnType<typeof createYoga<TransportRequest, Context>>

const DOCUMENT_CACHE_CHARACTERS = 1024 * 1024
/** Counted for each document beside its text. Without it tens of thousands of small documents would fit. */
const DOCUMENT_OVERHEAD_CHARACTERS = 1024

export function createExecutor(options: ExecutorOptions): Executor {
  const { services, fanOut, authenticate, rateLimits, maxMessageBytes, limits, allowIntrospection, log } =
    options

  /**
   * Key: the text. Bounded by total length: yoga's own cache counts entries, and large ones would fill the
   * heap.
   */
  const documentCache = new LRUCache<string, DocumentNode>({
    maxSize: DOCUMENT_CACHE_CHARACTERS,
    sizeCalculation: (_, text) => text.length + DOCUMENT_OVERHEAD_CHARACTERS,
  })
  const validDocuments = new WeakSet<DocumentNode>()

  const yoga: Yoga = createYoga<TransportRequest, Context>({
    schema,
    graphqlEndpoint: GRAPHQL_PATH,
    context: async transportRequest => {
      await assertCredentialStillValid(authenticate, transportRequest)
      return createContext(services, transportRequest.caller)
    },
    plugins: [
      useMultipart(rateLimits, services),
      useBadRequestErrors(),
      useSharedExecutor(prepare),
      useDocumentLimits(),
      useReadPermission(),
      useHiddenSchema(allowIntrospection),
      useQueryCost({ ...limits, allowIntrospection }),
      useFeedCursor(),
      useFanOut(fanOut),
      useEventStream(),
    ],
    parserAndValidationCache: { documentCache, errorCache: NO_ERROR_CACHE },
    maskedErrors: { maskError: error => maskError(error, log) },
    cors: false,
    batching: false,
    maxRequestBodySize: maxMessageBytes,
    // multipart-plugin.ts parses multipart requests.
    multipart: false,
    graphiql: false,
    landingPage: false,
    logging: false,
  })

  async function prepare(operationRequest: OperationRequest): Promise<PreparedOperation | InvalidOperation> {
    const { params } = operationRequest
    const { schema, parse, validate, contextFactory, execute, subscribe } =
      yoga.getEnveloped(operationRequest)
    try {
      const cached = documentCache.get(params.query ?? '')
      // Yoga's own validation rules look at the HTTP request each time.
      const isValid = cached !== undefined && validDocuments.has(cached) && !operationRequest.request
      const document: DocumentNode = isValid ? cached : parse(params.query)
      const kind = getOperationAST(document, params.operationName)?.operation
      if (kind === undefined) return { errors: [noOperationError()] }
      if (!isValid) {
        const errors = validate(schema, document)
        if (errors.length > 0) {
          documentCache.delete(params.query ?? '')
          return { errors }
        }
        validDocuments.add(document)
      }
      const isPreparedOnly = kind === 'subscription' && !operationRequest.sink
      const args: ExecutionArgs = {
        schema,
        document,
        contextValue: isPreparedOnly ? null : await contextFactory(),
        variableValues: params.variables,
        operationName: params.operationName,
      }
      return {
        document,
        kind,
        run: () => run(operationRequest, kind, kind === 'subscription' ? subscribe : execute, args),
      }
    } catch (error) {
      return { errors: [maskError(error, log)] }
    }
  }

  async function run(
    operationRequest: OperationRequest,
    kind: PreparedOperation['kind'],
    executeOrSubscribe: (args: ExecutionArgs) => ExecutionResult | Promise<ExecutionResult>,
    args: ExecutionArgs,
  ) {
    // The client has disconnected and cannot read the result. A mutation runs all the same.
    if (kind === 'query' && operationRequest.isClientGone()) return EMPTY_RESULT
    try {
      const result = await executeOrSubscribe(args)
      return operationRequest.subscription ?? result
    } catch (error) {
      return { errors: [maskError(error, log)] }
    }
  }

  return { prepare, yoga }
}

const EMPTY_RESULT: ExecutionResult = { data: null }

/**
 * Errors are not cached: an error keeps its stack, and the stack the whole request. 66 KB for five
 * characters.
 */
const NO_ERROR_CACHE = { get: () => undefined, set() {} }

/** The message is yoga's own. */
const noOperationError = (): GraphQLError =>
  new GraphQLError('Could not determine what operation to execute.', {
    extensions: { code: 'OPERATION_RESOLUTION_FAILURE', http: { status: 400 } },
  })

/**
 * Sends every subscription to the fan-out. Its Subscriber is returned past yoga, which would wrap each value:
 * a Subscriber yields none.
 */
const useFanOut = (fanOut: FanOut): Plugin<Context & TransportRequest> => ({
  onSubscribe: ({ setSubscribeFn }) =>
    setSubscribeFn(async args => {
      const result = await fanOut.subscribe(args)
      if ('next' in result) args.contextValue.subscription = result
      return result
    }),
})
