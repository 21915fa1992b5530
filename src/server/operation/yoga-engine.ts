/**
 * Yoga as the executor uses it: it parses, validates and executes with its chain of plugins, and its own HTTP serves
 * the rare kinds of requests: GET, forms, event streams, other media types, errors.
 */
import type { DocumentNode } from 'graphql'
import { createYoga, type FetchAPI, isAsyncIterable, type Plugin } from 'graphql-yoga'
import { type ErrorLog, maskError } from '../../graphql/error-mask.ts'
import { badArgument } from '../../graphql/request-errors.ts'
import { schema } from '../../graphql/schema.ts'
import { useDocumentLimits, useHiddenSchema } from './document-limits.ts'
import { GRAPHQL_PATH, type GraphQLParams, type OperationOutcome } from './operation.ts'

/** Given to yoga's HTTP with each request. */
export interface YogaContext {
  /** Runs the operation, or returns its outcome if it has run already. */
  run(params: GraphQLParams, request: Request): Promise<OperationOutcome>
}

export type Yoga = ReturnType<typeof createYoga<YogaContext>>

export function createYogaEngine(options: {
  documentCache: {
    get(text: string): DocumentNode | undefined
    set(text: string, document: DocumentNode): unknown
  }
  maxMessageBytes: number
  allowIntrospection: boolean
  log: ErrorLog
}): Yoga {
  const { documentCache, maxMessageBytes, allowIntrospection, log } = options
  return createYoga<YogaContext>({
    schema,
    graphqlEndpoint: GRAPHQL_PATH,
    plugins: [
      useBadRequestErrors(),
      useRun(),
      useDocumentLimits(),
      useHiddenSchema(allowIntrospection),
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

/** A subscription is sent as an event stream, or answered with 406. event-stream.ts writes the events. */
const useEventStream = (): Plugin => ({
  onResultProcess({ request, result, acceptableMediaTypes, setResultProcessor }) {
    if (!isAsyncIterable(result)) return
    acceptableMediaTypes.splice(0, acceptableMediaTypes.length, EVENT_STREAM_TYPE)
    const processor = acceptsEventStream(request.headers.get('accept'))
      ? (_: unknown, { Response }: FetchAPI) =>
          new Response(null, { headers: { 'content-type': EVENT_STREAM_TYPE } })
      : undefined
    setResultProcessor(processor as never, EVENT_STREAM_TYPE)
  },
})

/** Judged as yoga judges other media types: a missing header accepts everything, another charset than UTF-8 nothing. */
const acceptsEventStream = (accept: string | null): boolean =>
  (accept || '*/*')
    .toLowerCase()
    .replaceAll(/\s/g, '')
    .split(',')
    .some(entry => {
      const [range = '', ...parameters] = entry.split(';')
      const charset = parameters.find(parameter => parameter.includes('charset=')) ?? 'charset=utf-8'
      return EVENT_STREAM_RANGES.has(range) && charset === 'charset=utf-8'
    })

const EVENT_STREAM_RANGES: ReadonlySet<string> = new Set(['text/event-stream', 'text/*', '*/*'])

export const EVENT_STREAM_TYPE = 'text/event-stream'
