/**
 * Yoga as the executor uses it: it parses, validates and executes with its chain of plugins, and its own HTTP serves
 * the rare kinds of requests: GET, forms, event streams, other media types, errors.
 */
import type { DocumentNode, ExecutionResult } from 'graphql'
import { createYoga, isAsyncIterable, type Plugin } from 'graphql-yoga'
import { type ErrorLog, maskError } from '../../graphql/error-mask.ts'
import { badArgument } from '../../graphql/request-errors.ts'
import { schema } from '../../graphql/schema.ts'
import type { FanOut } from '../../subscriptions/fan-out.ts'
import type { Subscriber } from '../../subscriptions/subscription-group.ts'
import { useDocumentLimits, useHiddenSchema } from './document-limits.ts'
import {
  GRAPHQL_PATH,
  type GraphQLParams,
  type OperationOutcome,
  type OperationRequest,
} from './operation.ts'

/** Given to yoga's HTTP with each request. */
export interface YogaContext {
  /** Runs the operation, or returns its outcome if it has run already. */
  run(params: GraphQLParams, request: Request): Promise<OperationOutcome>
}

/** Yoga would wrap each value of an async iterable, and a Subscriber yields none. Inside an object it is left alone. */
export interface SubscriptionStart {
  subscription: Subscriber
}

export type Yoga = ReturnType<typeof createYoga<YogaContext>>

export function createYogaEngine(options: {
  documentCache: {
    get(text: string): DocumentNode | undefined
    set(text: string, document: DocumentNode): unknown
  }
  fanOut: Pick<FanOut, 'subscribe'>
  maxMessageBytes: number
  allowIntrospection: boolean
  log: ErrorLog
}): Yoga {
  const { documentCache, fanOut, maxMessageBytes, allowIntrospection, log } = options
  return createYoga<YogaContext>({
    schema,
    graphqlEndpoint: GRAPHQL_PATH,
    plugins: [
      useBadRequestErrors(),
      useRun(),
      useDocumentLimits(),
      useHiddenSchema(allowIntrospection),
      useFanOut(fanOut),
      useEventStream(),
    ],
    parserAndValidationCache: { documentCache, errorCache: NO_ERROR_CACHE },
    maskedErrors: { maskError: error => maskError(error, log) },
    cors: false,
    batching: false,
    maxRequestBodySize: maxMessageBytes,
    // upload-endpoint.ts parses multipart requests.
    multipart: false,
    graphiql: false,
    landingPage: false,
    logging: false,
  })
}

/**
 * Errors are not cached: an error keeps its stack, and the stack the whole request. 66 KB for five
 * characters.
 */
const NO_ERROR_CACHE = { get: () => undefined, set() {} }

/**
 * Yoga reports a body that is not JSON, but neither invalid `variables` or `extensions` nor a form that is cut
 * short.
 */
const useBadRequestErrors = (): Plugin => ({
  onRequestParse: ({ requestParser, setRequestParser }) =>
    requestParser &&
    setRequestParser(async request => {
      try {
        return await requestParser(request)
      } catch (error) {
        const isTruncated = (error as NodeJS.ErrnoException).code === 'ECONNRESET'
        if (!(error instanceof SyntaxError) && !isTruncated) throw error
        const badRequest = badArgument('variables, extensions', 'JSON')
        badRequest.extensions.http = { status: 400 }
        throw badRequest
      }
    }),
})

/** Lets yoga's HTTP run each operation through the executor. */
const useRun = (): Plugin<object, YogaContext> => ({
  onParams({ setParamsHandler }) {
    setParamsHandler(async ({ params, request, context }) => {
      const outcome = await (context as unknown as YogaContext).run(params, request)
      return outcome.kind === 'subscription' ? outcome.subscription : outcome.result
    })
  },
})

const useFanOut = (fanOut: Pick<FanOut, 'subscribe'>): Plugin => ({
  onSubscribe: ({ setSubscribeFn }) =>
    setSubscribeFn(async (args): Promise<SubscriptionStart | ExecutionResult> => {
      const { operationRequest } = args.contextValue as { operationRequest: OperationRequest }
      const result = await fanOut.subscribe(args, operationRequest)
      return 'next' in result ? { subscription: result } : result
    }),
})

/**
 * Yoga decides whether the response is an event stream, and makes its headers. event-stream.ts writes the
 * events.
 */
const useEventStream = (): Plugin => ({
  onResultProcess({ result, resultProcessor, setResultProcessor }) {
    if (!isAsyncIterable(result) || resultProcessor === undefined) return
    setResultProcessor(
      (_, { Response }) => new Response(null, { headers: EVENT_STREAM_HEADERS }),
      EVENT_STREAM_TYPE,
    )
  },
})

export const EVENT_STREAM_TYPE = 'text/event-stream'
const EVENT_STREAM_HEADERS = {
  'content-type': `${EVENT_STREAM_TYPE}; charset=utf-8`,
  'cache-control': 'no-cache, no-transform',
  connection: 'keep-alive',
  // Nginx would buffer the events.
  'x-accel-buffering': 'no',
}
