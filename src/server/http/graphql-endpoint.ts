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
  maxConnectionsPerApp: number
  countRejection: Services['countRejection']
  admissions: Pick<Admissions, 'admitCaller'>
  nextSlice: Services['nextSlice']
  executor: Pick<Executor, 'execute'>
  jsonFastPath: Pick<JsonFastPath, 'answer'>
  yogaHttp: YogaHttp
  uploadEndpoint: UploadEndpoint
}

/**
 * Max requests of a token that are under way. Above it: 429. A browser opens six connections, and behind a proxy with HTTP/2
 * a hundred requests.
 */
const MAX_REQUESTS_PER_TOKEN = 100
/** An app may have as many requests under way as connections, and at least these. */
const MIN_REQUESTS_PER_APP = 100

export function createGraphqlEndpoint(options: GraphqlEndpointOptions): GraphqlEndpoint {
  const { connectionLimit, admissions, nextSlice, executor, jsonFastPath, yogaHttp, uploadEndpoint } = options
  const { maxConnectionsPerApp, countRejection } = options

  /** Requests without a response, by app and by token. */
  const counts = new Map<string, number>()
  const countedCallers = new WeakMap<ServerResponse, Caller>()
  const maxRequestsPerApp = Math.max(MIN_REQUESTS_PER_APP, maxConnectionsPerApp)

  /** A second call has no effect. */
  function stopCounting(response: ServerResponse): void {
    const caller = countedCallers.get(response)
    if (!countedCallers.delete(response)) return
    const { scope, grant, credentialHash } = caller!
    for (const owner of grant === null ? [scope.appId] : [scope.appId, credentialHash]) {
      const count = counts.get(owner)! - 1
      if (count > 0) counts.set(owner, count)
      else counts.delete(owner)
    }
  }

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
      const { caller } = admission
      const { appId } = caller.scope
      const appCount = counts.get(appId) ?? 0
      const tokenCount = caller.grant === null ? 0 : (counts.get(caller.credentialHash) ?? 0)
      if (appCount < maxRequestsPerApp && tokenCount < MAX_REQUESTS_PER_TOKEN) {
        counts.set(appId, appCount + 1)
        if (caller.grant !== null) counts.set(caller.credentialHash, tokenCount + 1)
        countedCallers.set(response, caller)
        if (response.destroyed) stopCounting(response)
        else response.once('close', () => stopCounting(response))
        await nextSlice(appId)
        return caller
      }
      countRejection(appId, 'RATE_LIMITED')
      sendErrorResponse(response, rateLimitedResponse(CONNECTION_RETRY_AFTER_MS))
      return null
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
        openSink() {
          // The connection registry counts it from now on.
          stopCounting(response)
          return new EventStreamSink(response)
        },
        lastEventId: request.headers['last-event-id']?.toString() || null,
      }
      const answer = await jsonFastPath.answer(request, response, operation)
      if (answer.kind === 'answered') return
      const { body, outcome } = answer
      // Not awaited here: this function would keep the body as long as an event stream.
      return yogaHttp.respond(
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
