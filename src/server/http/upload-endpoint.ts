/**
 * HTTP endpoint of GraphQL multipart requests: reads the form, puts its file into the variables, and runs the
 * operation.
 * Invariant: the body is not read before the caller may upload and holds an upload slot. Of a form whose file is not
 * wanted, only the fields are read. A form may only run `uploadImage`.
 */
import type { ServerResponse } from 'node:http'
import { type DocumentNode, type GraphQLError, getOperationAST, Kind } from 'graphql'
import type { Caller } from '../../auth/authenticate.ts'
import { mayUpload } from '../../domain/access-scope.ts'
import type { Services } from '../../graphql/context.ts'
import { badArgument } from '../../graphql/request-errors.ts'
import type { BodyShares } from '../limits/body-shares.ts'
import type { RateLimits } from '../limits/rate-limits.ts'
import type {
  GraphQLParams,
  InvalidOperation,
  PreparedOperation,
  PrepareOperation,
} from '../operation/operation.ts'
import { type ErrorResponse, rateLimitedResponse, sendErrorResponse } from '../responses/error-response.ts'
import { EventStreamSink } from '../transports/event-stream.ts'
import {
  insertFile,
  MAX_FIELDS_BYTES,
  MAX_FORM_BYTES,
  type MultipartError,
  type MultipartRequest,
  parseMultipart,
} from '../uploads/multipart-parser.ts'
import { createUploadSlots } from '../uploads/upload-slots.ts'
import type { BodyLimits, HttpRequest } from './http-request.ts'
import { answerJson } from './json-fast-path.ts'
import {
  BODY_TOO_LARGE,
  JSON_MEDIA_TYPE,
  judgeHeaders,
  toBodyError,
  withoutByteOrderMark,
} from './request-content.ts'
import type { YogaHttp } from './yoga-http.ts'

/** Answers a form of an admitted caller. */
export type UploadEndpoint = (
  request: HttpRequest,
  response: ServerResponse,
  caller: Caller,
  network: string,
) => Promise<void>

export interface UploadEndpointOptions {
  prepare: PrepareOperation
  rateLimits: Pick<RateLimits, 'consumeUpload'>
  countRejection: Services['countRejection']
  /** Shares of the bodies that need no upload slot. */
  bodyShares: BodyShares
  yogaHttp: YogaHttp
}

const UPLOAD_FIELD = 'uploadImage'
/** Max wait for an upload slot. After it: 429. */
const SLOT_TIMEOUT_MS = 30_000
const FORM_MEDIA_TYPES = ['multipart/form-data']
/** A pause of this length is allowed. A slower body would keep its upload slot from others. */
const GRACE_MS = 10_000
const MIN_BYTES_PER_SECOND = 16 * 1024
const FORM_RATE = { graceMs: GRACE_MS, minBytesPerSecond: MIN_BYTES_PER_SECOND }
const EXPECTED_RATE = `a form at ${MIN_BYTES_PER_SECOND} bytes a second or more`

export function createUploadEndpoint(options: UploadEndpointOptions): UploadEndpoint {
  const { prepare, rateLimits, countRejection, bodyShares, yogaHttp } = options
  const uploadSlots = createUploadSlots()

  async function respondToForm(
    request: HttpRequest,
    response: ServerResponse,
    caller: Caller,
    limits: BodyLimits,
  ): Promise<void> {
    const received = await request.readBody({ ...limits, ...FORM_RATE })
    if (received.kind === 'aborted') return
    if (!('bytes' in received)) return sendErrorResponse(response, toBodyError(received, EXPECTED_RATE))
    const contentType = request.headers['content-type'] ?? ''
    const form = parseMultipart(contentType, received.bytes, received.kind === 'complete')
    if ('expected' in form) return sendErrorResponse(response, toErrorResponse(form))

    async function prepareUpload(params: GraphQLParams): Promise<PreparedOperation | InvalidOperation> {
      if (!insertFile(params, form as MultipartRequest)) return invalid(invalidMapError())
      const operation = await prepare({
        caller,
        params,
        isClientGone: () => response.destroyed,
        openSink: () => new EventStreamSink(response),
        lastEventId: null,
        httpRequest: null,
      })
      const isRejected = 'kind' in operation && !isUploadAlone(operation.document, params)
      return isRejected ? invalid(multipartNotAllowedError()) : operation
    }

    const bytes = withoutByteOrderMark(form.operations)
    const answer = await answerJson(request, response, bytes, prepareUpload)
    if (answer.kind === 'answered') return
    const content = { mediaType: JSON_MEDIA_TYPE, bytes }
    await yogaHttp.respond(request, response, caller, content, async params => {
      if (answer.outcome !== null) return answer.outcome
      const operation = await prepareUpload(params)
      return 'kind' in operation ? operation.run() : { kind: 'result', result: operation }
    })
  }

  return async (request, response, caller, network) => {
    const { appId } = caller.scope
    const headersError = judgeHeaders(request.headers, FORM_MEDIA_TYPES)
    if (headersError !== null) return sendErrorResponse(response, headersError)
    const rejectFor = (retryAfterMs: number) => {
      countRejection(appId, 'RATE_LIMITED')
      sendErrorResponse(response, rateLimitedResponse(retryAfterMs))
    }
    const retryAfterMs = await rateLimits.consumeUpload(caller)
    if (retryAfterMs !== null) return rejectFor(retryAfterMs)
    const token = caller.grant?.tokenId ?? null
    // If the file is not wanted, it is not read: `uploadImage` itself returns the error.
    if (!mayUpload(caller) || request.declaredBytes > MAX_FORM_BYTES) {
      const openShare = () => bodyShares.open(appId, token)
      return respondToForm(request, response, caller, { maxBytes: MAX_FIELDS_BYTES, openShare })
    }
    const holder = { app: appId, token, network, bytes: request.declaredBytes || MAX_FORM_BYTES }
    const release = await uploadSlots.acquire(holder, slotSignal(response)).catch(() => null)
    if (release === null) return rejectFor(SLOT_TIMEOUT_MS)
    try {
      await respondToForm(request, response, caller, { maxBytes: MAX_FORM_BYTES, openShare: null })
    } finally {
      release()
    }
  }
}

/** Aborts when the client disconnects, or after the max wait. */
function slotSignal(response: ServerResponse): AbortSignal {
  const disconnected = new AbortController()
  if (response.destroyed) disconnected.abort()
  else response.once('close', () => disconnected.abort())
  return AbortSignal.any([disconnected.signal, AbortSignal.timeout(SLOT_TIMEOUT_MS)])
}

function isUploadAlone(document: DocumentNode, { operationName }: GraphQLParams): boolean {
  const operation = getOperationAST(document, operationName)
  const [selection, ...others] = operation?.selectionSet.selections ?? []
  return (
    operation?.operation === 'mutation' &&
    others.length === 0 &&
    selection?.kind === Kind.FIELD &&
    selection.name.value === UPLOAD_FIELD
  )
}

const toErrorResponse = ({ status, expected }: MultipartError): ErrorResponse =>
  status === 413 ? BODY_TOO_LARGE : { status, error: badArgument('body', expected) }

const invalid = (error: GraphQLError): InvalidOperation => {
  error.extensions.http = { status: 400 }
  return { errors: [error] }
}
const invalidMapError = () => badArgument('map', 'the path of a null in variables')
const multipartNotAllowedError = () => badArgument('body', `JSON; a form is for ${UPLOAD_FIELD} alone`)
