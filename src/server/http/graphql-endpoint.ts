/**
 * HTTP endpoint of the API: admits a request, then answers its operation on the JSON fast path, through yoga, or as an
 * upload.
 * Invariant: nothing of a body is read before the caller is authenticated and within its rate.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Caller } from '../../auth/authenticate.ts'
import { requestError } from '../../graphql/request-errors.ts'
import { CONNECTION_RETRY_AFTER_MS, type ConnectionLimit } from '../limits/connections-per-address.ts'
import type { Admissions } from '../operation/admission.ts'
import type { Executor } from '../operation/executor.ts'
import type { OperationRequest } from '../operation/operation.ts'
import { rateLimitedResponse, sendErrorResponse } from '../responses/error-response.ts'
import { HttpSink } from '../transports/event-stream.ts'
import type { ClientAddresses } from './client-address.ts'
import type { JsonFastPath } from './json-fast-path.ts'
import type { UploadEndpoint } from './upload-endpoint.ts'
import type { YogaHttp } from './yoga-http.ts'

/** @param address the client's IP address */
type Endpoint = (request: IncomingMessage, response: ServerResponse, address: string) => Promise<void>

export interface GraphqlEndpoint {
  /** Answers every request that is not a form. */
  answerOperation: Endpoint
  /** Answers a GraphQL multipart request. */
  answerForm: Endpoint
}

export interface GraphqlEndpointOptions {
  clientAddresses: Pick<ClientAddresses, 'isForwarded'>
  connectionLimit: ConnectionLimit
  admissions: Pick<Admissions, 'admitCaller'>
  executor: Pick<Executor, 'prepare' | 'execute'>
  jsonFastPath: JsonFastPath
  yogaHttp: YogaHttp
  uploadEndpoint: UploadEndpoint
}

export function createGraphqlEndpoint(options: GraphqlEndpointOptions): GraphqlEndpoint {
  const { clientAddresses, connectionLimit, admissions, executor, jsonFastPath, yogaHttp, uploadEndpoint } =
    options

  /** Null: the request is rejected, and answered. */
  async function admit(
    request: IncomingMessage,
    response: ServerResponse,
    address: string,
  ): Promise<Caller | null> {
    if (clientAddresses.isForwarded(request) && !connectionLimit.admit(address, response)) {
      sendErrorResponse(response, rateLimitedResponse(CONNECTION_RETRY_AFTER_MS))
      return null
    }
    const admission = await admissions.admitCaller(request.headers.authorization, address)
    if (admission.kind === 'admitted') return admission.caller
    sendErrorResponse(
      response,
      admission.kind === 'unauthenticated'
        ? { status: 401, error: requestError('UNAUTHENTICATED') }
        : rateLimitedResponse(admission.retryAfterMs),
    )
    return null
  }

  return {
    async answerOperation(request, response, address) {
      const caller = await admit(request, response, address)
      if (caller === null) return
      const sink = new HttpSink(response)
      const lastEventId = request.headers['last-event-id']?.toString() || null
      const operation: Omit<OperationRequest, 'params' | 'httpRequest'> = { caller, sink, lastEventId }
      const answer = await jsonFastPath(request, response, params =>
        executor.prepare({ ...operation, params, httpRequest: null }),
      )
      if (answer.kind === 'answered') return
      const { body, outcome } = answer
      await yogaHttp.respond(
        request,
        sink,
        caller,
        body,
        async (params, httpRequest) => outcome ?? executor.execute({ ...operation, params, httpRequest }),
      )
    },

    async answerForm(request, response, address) {
      const caller = await admit(request, response, address)
      if (caller !== null) await uploadEndpoint(request, response, caller)
    },
  }
}
