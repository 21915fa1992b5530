/**
 * Plugins for yoga's own HTTP, which serves the rare kinds: GET, forms, event streams, other media types, errors.
 * Their operations run through the shared executor (executor.ts).
 */
import { isAsyncIterable, type Plugin } from 'graphql-yoga'
import type { Context } from '../../graphql/context.ts'
import { badArgument } from '../../graphql/request-errors.ts'
import type { PrepareOperation, TransportRequest } from './operation.ts'

/**
 * Yoga reports a body that is not JSON, but neither invalid `variables` or `extensions` nor a form that is cut
 * short.
 */
export const useBadRequestErrors = (): Plugin => ({
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

/** Runs each operation through `prepare`. A request that already has a result is not executed again. */
export const useSharedExecutor = (prepare: PrepareOperation): Plugin<Context, TransportRequest> => ({
  onParams({ setParamsHandler }) {
    setParamsHandler(async ({ params, request, context }) => {
      const operationRequest = Object.assign(context as unknown as TransportRequest, { params, request })
      if (operationRequest.precomputedResult) return operationRequest.precomputedResult
      const operation = await prepare(operationRequest)
      return 'errors' in operation ? operation : operation.run()
    })
  },
})

/**
 * Yoga decides whether the response is an event stream, and makes its headers. event-stream.ts writes the
 * events.
 */
export const useEventStream = (): Plugin<Context, TransportRequest> => ({
  onResultProcess({ result, resultProcessor, setResultProcessor, serverContext }) {
    if (!isAsyncIterable(result)) return
    if (resultProcessor === undefined) return void delete serverContext?.subscription
    setResultProcessor(
      (_, { Response }) => new Response(null, { headers: EVENT_STREAM_HEADERS }),
      'text/event-stream',
    )
  },
})

const EVENT_STREAM_HEADERS = {
  'content-type': 'text/event-stream; charset=utf-8',
  'cache-control': 'no-cache, no-transform',
  connection: 'keep-alive',
  // Nginx would buffer the events.
  'x-accel-buffering': 'no',
}
