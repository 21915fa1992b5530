/**
 * HTTP endpoint of the API: admits a request, then runs its operation on the JSON fast path, or hands it on
 * to yoga.
 * Invariant: nothing of a body is read before the caller is authenticated and within its rate.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { sendNodeResponse } from '@whatwg-node/server'
import { CONNECTION_RETRY_AFTER_MS, type ConnectionLimit } from '../limits/connections-per-address.ts'
import type { Admit } from '../operation/admission.ts'
import type { Yoga } from '../operation/executor.ts'
import type { TransportRequest } from '../operation/operation.ts'
import { rateLimitedResponse, sendErrorResponse } from '../responses/error-response.ts'
import { createEventStream, type EventStreamOptions } from '../transports/event-stream.ts'
import type { ClientAddresses } from './client-address.ts'
import type { JsonFastPath } from './json-fast-path.ts'

/** @param address the client's IP address */
export type GraphqlEndpoint = (
  request: IncomingMessage,
  response: ServerResponse,
  address: string,
) => Promise<void>

export interface GraphqlEndpointOptions {
  clientAddresses: Pick<ClientAddresses, 'isForwarded'>
  connectionLimit: ConnectionLimit
  admit: Admit
  jsonFastPath: JsonFastPath
  yoga: Yoga
  eventStreams: EventStreamOptions
}

export function createGraphqlEndpoint(options: GraphqlEndpointOptions): GraphqlEndpoint {
  const { clientAddresses, connectionLimit, admit, jsonFastPath, yoga, eventStreams } = options

  return async (request, response, address) => {
    if (clientAddresses.isForwarded(request) && !connectionLimit.admit(address, response))
      return sendErrorResponse(response, rateLimitedResponse(CONNECTION_RETRY_AFTER_MS))
    const caller = await admit(request.headers.authorization, address)
    if ('status' in caller) return sendErrorResponse(response, caller)
    const transportRequest: TransportRequest = { caller, address, isClientGone: () => response.destroyed }
    if (await jsonFastPath(request, response, transportRequest)) return

    const stream = createEventStream(request, response, eventStreams)
    transportRequest.sink = stream.sink
    const lastEventId = request.headers['last-event-id']
    if (typeof lastEventId === 'string' && lastEventId !== '') transportRequest.lastEventId = lastEventId
    const yogaResponse = await yoga.handleNodeRequestAndResponse(request, response, transportRequest)
    if (transportRequest.subscription)
      await stream.respond(Object.fromEntries(yogaResponse.headers), caller, transportRequest.subscription)
    else await sendNodeResponse(yogaResponse, response, request, true)
  }
}
