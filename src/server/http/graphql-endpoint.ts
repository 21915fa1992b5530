/**
 * HTTP endpoint of the API: admits a request, then answers its operation on the JSON fast path, through yoga, or as an
 * upload.
 * Invariant: nothing of a body is read before the caller is authenticated and within its rate.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Caller } from '../../auth/authenticate.ts'
import type { Services } from '../../graphql/context.ts'
import { requestError } from '../../graphql/request-errors.ts'
import { CONNECTION_RETRY_AFTER_MS, type ConnectionLimit } from '../limits/connections-per-network.ts'
import type { Admissions } from '../operation/admission.ts'
import type { Executor } from '../operation/executor.ts'
import type { OperationRequest } from '../operation/operation.ts'
import { rateLimitedResponse, sendErrorResponse } from '../responses/error-response.ts'
import { EventStreamSink } from '../transports/event-stream.ts'
import type { ClientOrigin } from './client-network.ts'
import type { JsonFastPath } from './json-fast-path.ts'
import type { UploadEndpoint } from './upload-endpoint.ts'
import type { YogaHttp } from './yoga-http.ts'

type Endpoint = (request: IncomingMessage, response: ServerResponse, client: ClientOrigin) => Promise<void>

export interface GraphqlEndpoint {
  /** Answers every request that is not multipart. */
  answerOperation: Endpoint
  /** Answers a GraphQL multipart request. */
  answerForm: Endpoint
}

export interface GraphqlEndpointOptions {
  connectionLimit: ConnectionLimit
  admissions: Pick<Admissions, 'admitCaller'>
  nextSlice: Services['nextSlice']
  executor: Pick<Executor, 'execute'>
  jsonFastPath: Pick<JsonFastPath, 'answer'>
  yogaHttp: YogaHttp
  uploadEndpoint: UploadEndpoint
}

export function createGraphqlEndpoint(options: GraphqlEndpointOptions): GraphqlEndpoint {
  const { connectionLimit, admissions, nextSlice, executor, jsonFastPath, yogaHttp, uploadEndpoint } = options

  /** Null: the request is rejected, and answered. */
  async function admit(
    request: IncomingMessage,
    response: ServerResponse,
    { network, isForwarded }: ClientOrigin,
  ): Promise<Caller | null> {
    if (isForwarded && !connectionLimit.admit(network, response)) {
      sendErrorResponse(response, rateLimitedResponse(CONNECTION_RETRY_AFTER_MS))
      return null
    }
    const admission = await admissions.admitCaller(request.headers.authorization, network)
    if (admission.kind === 'admitted') {
      await nextSlice(admission.caller.scope.appId)
      return admission.caller
    }
    sendErrorResponse(
      response,
      admission.kind === 'unauthenticated'
        ? { status: 401, error: requestError('UNAUTHENTICATED') }
        : rateLimitedResponse(admission.retryAfterMs),
    )
    return null
  }

  return {
    async answerOperation(request, response, client) {
      const caller = await admit(request, response, client)
      if (caller === null) return
      const operation: Omit<OperationRequest, 'params' | 'httpRequest'> = {
        caller,
        isClientGone: () => response.destroyed,
        openSink: () => new EventStreamSink(response),
        lastEventId: request.headers['last-event-id']?.toString() || null,
      }
      const answer = await jsonFastPath.answer(request, response, operation)
      if (answer.kind === 'answered') return
      const { body, outcome } = answer
      await yogaHttp.respond(
        request,
        response,
        caller,
        body,
        async (params, httpRequest) => outcome ?? executor.execute({ ...operation, params, httpRequest }),
      )
    },

    async answerForm(request, response, client) {
      const caller = await admit(request, response, client)
      if (caller !== null) await uploadEndpoint(request, response, caller)
    },
  }
}
