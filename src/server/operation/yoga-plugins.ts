/**
 * Yoga's own HTTP, for what is rare: GET, forms, event streams, other media types, and whatever is at fault. Its operations
 * take the one path (executor.ts).
 */
import { isAsyncIterable, type Plugin } from 'graphql-yoga'
import type { Context } from '../../graphql/context.ts'
import { badArgument } from '../../graphql/request-errors.ts'
import type { Door, Read } from './operation.ts'

/** Yoga answers for a body that is no JSON, and not for parameters that are none, nor for a form that is cut short. */
export const useReadableRequest = (): Plugin => ({
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

/** What has an answer by now is not asked again. */
export const useOnePath = (read: Read): Plugin<Context, Door> => ({
  onParams({ setParamsHandler }) {
    setParamsHandler(async ({ params, request, context }) => {
      const asked = Object.assign(context as unknown as Door, { params, request })
      if (asked.answer) return asked.answer
      const operation = await read(asked)
      return 'errors' in operation ? operation : operation.run()
    })
  },
})

/** Yoga judges whether an event stream may be the answer, and makes its head; the door writes what is in it. */
export const useEventStream = (): Plugin<Context, Door> => ({
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
