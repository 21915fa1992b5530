/**
 * Answers a request through yoga's HTTP: it parses parameters, chooses media type and status, and formats errors.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { sendNodeResponse } from '@whatwg-node/server'
import type { Caller } from '../../auth/authenticate.ts'
import type { GraphQLParams, OperationOutcome } from '../operation/operation.ts'
import { EVENT_STREAM_TYPE, type Yoga, type YogaContext } from '../operation/yoga-engine.ts'
import type { EventStreams } from '../transports/event-stream.ts'

export interface YogaHttp {
  /** @param body JSON that has been read already; null: yoga reads the request */
  respond(
    request: IncomingMessage,
    response: ServerResponse,
    caller: Caller,
    body: Buffer | null,
    run: YogaContext['run'],
  ): Promise<void>
}

export const createYogaHttp = (yoga: Yoga, eventStreams: EventStreams): YogaHttp => ({
  async respond(request, response, caller, body, run) {
    const outcomes: OperationOutcome[] = []
    const context = {
      async run(params: GraphQLParams, httpRequest: Request) {
        const outcome = await run(params, httpRequest)
        outcomes.push(outcome)
        return outcome
      },
    }
    const yogaResponse = await (body === null
      ? yoga.handleNodeRequestAndResponse(request, response, context)
      : yoga.handleRequest(toJsonRequest(request, body, yoga.fetchAPI.Request), context))
    const [outcome] = outcomes
    if (outcome?.kind !== 'subscription')
      return void (await sendNodeResponse(yogaResponse, response, request, true))
    const { subscription } = outcome
    if (yogaResponse.headers.get('content-type')?.startsWith(EVENT_STREAM_TYPE))
      return eventStreams.respond(request, response, caller, subscription)
    // The client accepts no event stream: yoga's response is a 406.
    subscription.end()
    await sendNodeResponse(yogaResponse, response, request, true)
  },
})

function toJsonRequest(
  { url, headers: nodeHeaders }: IncomingMessage,
  body: Buffer,
  Request: typeof globalThis.Request,
): Request {
  const headers = new Headers(nodeHeaders as Record<string, string>)
  headers.set('content-type', 'application/json; charset=utf-8')
  headers.set('content-length', `${body.length}`)
  headers.delete('transfer-encoding')
  // The type of the DOM's Request does not know Node's Buffer.
  const init = { method: 'POST', headers, body: body as BodyInit }
  return new Request(`http://${nodeHeaders.host ?? 'localhost'}${url}`, init)
}
