/**
 * Yoga's own HTTP, for what is rare: GET, forms, event streams, other media types, and whatever is at fault. Its operations
 * take the one path (executor.ts).
 */
import { isAsyncIterable, type Plugin } from 'graphql-yoga'
import type { Context } from '../../graphql/context.ts'
import { badArgument } from '../../graphql/request-errors.ts'
import type { PrepareOperation, TransportRequest } from './operation.ts'

/** Yoga answers for a body that is no JSON, and not for parameters that are none, nor for a form that is cut short. */
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

/** What has an answer by now is not asked again. */
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

/** Yoga judges whether an event stream may be the answer, and makes its head; the door writes what is in it. */
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
  // Nginx would hold events back.
  'x-accel-buffering': 'no',
}
