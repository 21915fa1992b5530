/**
 * HTTP endpoint of GraphQL multipart requests: reads the form, puts its file into the variables, and runs the
 * operation.
 * Invariant: no byte of the file is read before the caller may upload and holds an upload slot. A form may only run
 * `uploadImage`.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { type DocumentNode, GraphQLError, getOperationAST, Kind } from 'graphql'
import type { Caller } from '../../auth/authenticate.ts'
import { mayUpload } from '../../domain/access-scope.ts'
import type { Services } from '../../graphql/context.ts'
import { badArgument } from '../../graphql/request-errors.ts'
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
  type MultipartError,
  type MultipartRequest,
  parseMultipart,
} from '../uploads/multipart-parser.ts'
import { createUploadSlots } from '../uploads/upload-slots.ts'
import type { JsonFastPath } from './json-fast-path.ts'
import type { YogaHttp } from './yoga-http.ts'

/** Answers a form of an admitted caller. */
export type UploadEndpoint = (
  request: IncomingMessage,
  response: ServerResponse,
  caller: Caller,
) => Promise<void>

export interface UploadEndpointOptions {
  prepare: PrepareOperation
  rateLimits: Pick<RateLimits, 'consumeUpload'>
  countRejection: Services['countRejection']
  /** The class of yoga's requests, which can limit the parts of a form. */
  Request: typeof globalThis.Request
  jsonFastPath: Pick<JsonFastPath, 'answerJson'>
  yogaHttp: YogaHttp
}

const UPLOAD_FIELD = 'uploadImage'
/** Max wait for an upload slot. After it: 429. */
const SLOT_TIMEOUT_MS = 30_000

export function createUploadEndpoint(options: UploadEndpointOptions): UploadEndpoint {
  const { prepare, rateLimits, countRejection, Request, jsonFastPath, yogaHttp } = options
  const uploadSlots = createUploadSlots()

  async function respondToForm(
    request: IncomingMessage,
    response: ServerResponse,
    caller: Caller,
    isFileWanted: boolean,
  ): Promise<void> {
    const form = await parseMultipart(request, Request, isFileWanted)
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

    const body = Buffer.from(form.operations)
    const answer = await jsonFastPath.answerJson(request, response, body, prepareUpload)
    if (answer.kind === 'answered') return
    await yogaHttp.respond(request, response, caller, body, async params => {
      if (answer.outcome !== null) return answer.outcome
      const operation = await prepareUpload(params)
      return 'kind' in operation ? operation.run() : { kind: 'result', result: operation }
    })
  }

  return async (request, response, caller) => {
    const { appId } = caller.scope
    const rejectFor = (retryAfterMs: number) => {
      countRejection(appId, 'RATE_LIMITED')
      sendErrorResponse(response, rateLimitedResponse(retryAfterMs))
    }
    const retryAfterMs = await rateLimits.consumeUpload(caller)
    if (retryAfterMs !== null) return rejectFor(retryAfterMs)
    // If the caller may not upload, the file is not read: `uploadImage` itself returns the error.
    if (!mayUpload(caller)) return respondToForm(request, response, caller, false)
    const release = await uploadSlots.acquire(appId, slotSignal(response)).catch(() => null)
    if (release === null) return rejectFor(SLOT_TIMEOUT_MS)
    try {
      await respondToForm(request, response, caller, true)
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

const toErrorResponse = ({ status, expected }: MultipartError): ErrorResponse => ({
  status,
  error: status === 413 ? bodyTooLargeError() : badArgument('body', expected),
})

const invalid = (error: GraphQLError): InvalidOperation => {
  error.extensions.http = { status: 400 }
  return { errors: [error] }
}
const invalidMapError = () => badArgument('map', 'the path of a null in variables')
const multipartNotAllowedError = () => badArgument('body', `JSON; a form is for ${UPLOAD_FIELD} alone`)
const bodyTooLargeError = () =>
  new GraphQLError('Request body too large', { extensions: { code: 'REQUEST_ENTITY_TOO_LARGE' } })
