/**
 * Answers a request through yoga's HTTP: it parses parameters, chooses media type and status, and formats errors.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { sendNodeResponse } from '@whatwg-node/server'
import type { Caller } from '../../auth/authenticate.ts'
import { badArgument } from '../../graphql/request-errors.ts'
import type { GraphQLParams, OperationOutcome } from '../operation/operation.ts'
import { EVENT_STREAM_TYPE, type Yoga, type YogaContext } from '../operation/yoga-engine.ts'
import { sendErrorResponse } from '../responses/error-response.ts'
import type { EventStreams } from '../transports/event-stream.ts'
import type { RequestContent } from './request-content.ts'

export interface YogaHttp {
  /** @param content the body of a POST; null: the request has another method, and its body is not read */
  respond(
    request: IncomingMessage,
    response: ServerResponse,
    caller: Caller,
    content: RequestContent | null,
    run: YogaContext['run'],
  ): Promise<void>
}

export const createYogaHttp = (yoga: Yoga, eventStreams: EventStreams): YogaHttp => ({
  async respond(request, response, caller, content, run) {
    const outcomes: OperationOutcome[] = []
    const context = {
      async run(params: GraphQLParams, httpRequest: Request) {
        const outcome = await run(params, httpRequest)
        outcomes.push(outcome)
        return outcome
      },
    }
    const yogaResponse = await (content === null
      ? yoga.handleNodeRequestAndResponse(request, response, context)
      : yoga.handleRequest(toPostRequest(request, content, yoga.fetchAPI.Request), context))
    const [outcome] = outcomes
    if (outcome?.kind !== 'subscription') return send(yogaResponse, request, response)
    const { subscription } = outcome
    if (yogaResponse.headers.get('content-type')?.startsWith(EVENT_STREAM_TYPE))
      return eventStreams.respond(request, response, caller, subscription)
    // The client accepts no event stream: yoga's response is a 406.
    subscription.end()
    await send(yogaResponse, request, response)
  },
})

/** Yoga's 406 has no body. */
async function send(
  yogaResponse: Response,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  if (yogaResponse.status !== 406) return void (await sendNodeResponse(yogaResponse, response, request, true))
  const accept = yogaResponse.headers.get('accept')
  const headers: Record<string, string> = accept === null ? {} : { accept }
  sendErrorResponse(response, { status: 406, error: badArgument('Accept', ACCEPTABLE), headers })
}

const ACCEPTABLE = `application/json or application/graphql-response+json; for a subscription ${EVENT_STREAM_TYPE}`

function toPostRequest(
  { url, headers: nodeHeaders }: IncomingMessage,
  { mediaType, bytes }: RequestContent,
  Request: typeof globalThis.Request,
): Request {
  const headers = new Headers(nodeHeaders as Record<string, string>)
  headers.set('content-type', `${mediaType}; charset=utf-8`)
  headers.set('content-length', `${bytes.length}`)
  headers.delete('transfer-encoding')
  // The type of the DOM's Request does not know Node's Buffer.
  const init = { method: 'POST', headers, body: bytes as BodyInit }
  return new Request(`http://${nodeHeaders.host ?? 'localhost'}${url}`, init)
}
