/**
 * HTTP endpoint of the API: admits a request, then answers its operation on the JSON fast path, through yoga, or as an
 * upload.
 * Invariant: no body is read before the caller is authenticated and within its rate, and its headers are judged.
 */
import type { ServerResponse } from 'node:http'
import type { Caller } from '../../auth/authenticate.ts'
import type { Services } from '../../graphql/context.ts'
import { requestError } from '../../graphql/request-errors.ts'
import type { BodyShares } from '../limits/body-shares.ts'
import { CONNECTION_RETRY_AFTER_MS, type ConnectionLimit } from '../limits/connections-per-network.ts'
import type { Admissions } from '../operation/admission.ts'
import type { Executor } from '../operation/executor.ts'
import type { OperationRequest } from '../operation/operation.ts'
import { type ErrorResponse, rateLimitedResponse, sendErrorResponse } from '../responses/error-response.ts'
import { EventStreamSink } from '../transports/event-stream.ts'
import type { ClientOrigin } from './client-network.ts'
import type { BodyLimits, HttpRequest } from './http-request.ts'
import { answerJson } from './json-fast-path.ts'
import {
  BODY_TOO_LARGE,
  JSON_MEDIA_TYPE,
  judgeHeaders,
  judgeText,
  parseContentType,
  type RequestContent,
  toBodyError,
  withoutByteOrderMark,
} from './request-content.ts'
import type { UploadEndpoint } from './upload-endpoint.ts'
import type { YogaHttp } from './yoga-http.ts'

type Endpoint = (request: HttpRequest, response: ServerResponse, client: ClientOrigin) => Promise<void>

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
  executor: Pick<Executor, 'prepare' | 'execute'>
  bodyShares: BodyShares
  maxMessageBytes: number
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
/** Larger bodies take over a millisecond to parse. */
const SLICE_BODY_BYTES = 64 * 1024

export function createGraphqlEndpoint(options: GraphqlEndpointOptions): GraphqlEndpoint {
  const { connectionLimit, admissions, nextSlice, executor, bodyShares, yogaHttp, uploadEndpoint } = options
  const { maxMessageBytes, maxConnectionsPerApp, countRejection } = options

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
    request: HttpRequest,
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

  /** Null: the request is rejected, and answered; or its client has disconnected. */
  async function readContent(
    request: HttpRequest,
    response: ServerResponse,
    limits: BodyLimits,
  ): Promise<RequestContent | null> {
    const { headers, declaredBytes } = request
    const headersError = judgeHeaders(headers) ?? (declaredBytes > limits.maxBytes ? BODY_TOO_LARGE : null)
    if (headersError !== null) return reject(headersError)
    const body = await request.readBody(limits)
    if (body.kind === 'aborted') return null
    if (body.kind !== 'complete') return reject(toBodyError(body))
    const { mediaType } = parseContentType(headers)
    const textError = judgeText(body.bytes, mediaType)
    return textError === null ? { mediaType, bytes: withoutByteOrderMark(body.bytes) } : reject(textError)

    function reject(error: ErrorResponse): null {
      sendErrorResponse(response, error)
      return null
    }
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
      if (request.method !== 'POST')
        return yogaHttp.respond(request, response, caller, null, (params, httpRequest) =>
          executor.execute({ ...operation, params, httpRequest }),
        )

      const openShare = () => bodyShares.open(caller.scope.appId, caller.grant?.tokenId ?? null)
      const content = await readContent(request, response, { maxBytes: maxMessageBytes, openShare })
      if (content === null) return
      if (content.bytes.length > SLICE_BODY_BYTES) await nextSlice(caller.scope.appId)
      const answer =
        content.mediaType === JSON_MEDIA_TYPE
          ? await answerJson(request, response, content.bytes, params =>
              executor.prepare({ ...operation, params, httpRequest: null }),
            )
          : null
      if (answer?.kind === 'answered') return
      // Not awaited here: this function would keep the body as long as an event stream.
      return yogaHttp.respond(request, response, caller, content, async (params, httpRequest) => {
        const outcome = answer?.outcome ?? (await executor.execute({ ...operation, params, httpRequest }))
        if (outcome.kind === 'subscription') request.releaseBody()
        return outcome
      })
    },

    async answerForm(request, response, client) {
      const caller = await admit(request, response, client)
      if (caller !== null) await uploadEndpoint(request, response, caller, client.network)
    },
  }
}
