/**
 * Multipart plugin: turns a GraphQL multipart request into a JSON request, and inserts its file into the
 * variables.
 * Invariant: no byte of the body is read before the caller is authenticated. No byte of the file is read
 * before the caller may upload and holds an upload slot. A multipart request may only run `uploadImage`.
 */
import { type ExecutionArgs, GraphQLError, getOperationAST, Kind } from 'graphql'
import type { Plugin } from 'graphql-yoga'
import { mayUpload } from '../../domain/access-scope.ts'
import type { Context, Services } from '../../graphql/context.ts'
import { badArgument } from '../../graphql/request-errors.ts'
import type { RateLimits } from '../limits/rate-limits.ts'
import { type ErrorResponse, rateLimitedResponse } from '../responses/error-response.ts'
import { insertFile, parseMultipart } from '../uploads/multipart-parser.ts'
import { createUploadSlots, type UploadSlots } from '../uploads/upload-slots.ts'
import type { TransportRequest, UploadedFile } from './operation.ts'

const UPLOAD_FIELD = 'uploadImage'
/** Max wait for an upload slot. After it: 429. */
const SLOT_TIMEOUT_MS = 30_000

export const isMultipart = (method: string | undefined, contentType: string | null | undefined): boolean =>
  method === 'POST' && /^multipart\/form-data\s*(;|$)/i.test(contentType ?? '')

/** Must run after authentication, and before every plugin that reads the body. */
export function useMultipart(
  rateLimits: Pick<RateLimits, 'consumeUpload'>,
  { countRejection }: Pick<Services, 'countRejection'>,
  uploadSlots: UploadSlots = createUploadSlots(),
): Plugin<Context & TransportRequest, TransportRequest> {
  return {
    async onRequest({ request, serverContext, setRequest, endResponse, fetchAPI }) {
      const { headers } = request
      const caller = serverContext?.caller
      if (!caller || !isMultipart(request.method, headers.get('content-type'))) return
      const { appId } = caller.scope
      const respondWithError = ({ status, error, headers = {} }: ErrorResponse) =>
        endResponse(fetchAPI.Response.json({ errors: [error] }, { status, headers }))
      const retryAfterMs = await rateLimits.consumeUpload(caller)
      if (retryAfterMs !== null) {
        countRejection(appId, 'RATE_LIMITED')
        return respondWithError(rateLimitedResponse(retryAfterMs))
      }

      // If the caller may not upload, the file is not read: `uploadImage` itself returns the error.
      const isUploadAllowed = mayUpload(caller)
      const slotSignal = AbortSignal.any([request.signal, AbortSignal.timeout(SLOT_TIMEOUT_MS)])
      const release = isUploadAllowed
        ? await uploadSlots.acquire(appId, slotSignal).catch(() => null)
        : () => {}
      if (release === null) {
        countRejection(appId, 'RATE_LIMITED')
        return respondWithError(rateLimitedResponse(SLOT_TIMEOUT_MS))
      }
      const form = await parseMultipart(request, fetchAPI, isUploadAllowed).catch(error => {
        release()
        throw error
      })
      if ('expected' in form) {
        release()
        const error = form.status === 413 ? bodyTooLargeError() : badArgument('body', form.expected)
        return respondWithError({ status: form.status, error })
      }
      const { path, file } = form
      Object.assign(serverContext, { uploadedFile: { path, file, release } satisfies UploadedFile })
      setRequest(toJsonRequest(request, form.operations, fetchAPI.Request))
    },

    onParams({ params, context, setResult }) {
      const { uploadedFile } = context as Partial<TransportRequest>
      if (uploadedFile && !insertFile(params, uploadedFile)) setResult({ errors: [invalidMapError()] })
    },

    onExecute({ args, setResultAndStopExecution }) {
      if ((args.contextValue as TransportRequest).uploadedFile && !isUploadAlone(args))
        setResultAndStopExecution({ errors: [multipartNotAllowedError()] })
    },

    onSubscribe({ args, setResultAndStopExecution }) {
      if ((args.contextValue as TransportRequest).uploadedFile)
        setResultAndStopExecution({ errors: [multipartNotAllowedError()] })
    },

    onResponse({ serverContext }) {
      serverContext?.uploadedFile?.release()
    },
  }
}

function toJsonRequest(request: Request, body: string, Request: typeof globalThis.Request): Request {
  const headers = new Headers(request.headers)
  headers.delete('content-length')
  headers.delete('transfer-encoding')
  headers.set('content-type', 'application/json; charset=utf-8')
  return new Request(request.url, { method: 'POST', headers, body, signal: request.signal })
}

function isUploadAlone({ document, operationName }: ExecutionArgs): boolean {
  const operation = getOperationAST(document, operationName)
  const [selection, ...others] = operation?.selectionSet.selections ?? []
  return (
    operation?.operation === 'mutation' &&
    others.length === 0 &&
    selection?.kind === Kind.FIELD &&
    selection.name.value === UPLOAD_FIELD
  )
}

const withStatus = (error: GraphQLError, status: number): GraphQLError => {
  error.extensions.http = { status }
  return error
}

const invalidMapError = () => withStatus(badArgument('map', 'the path of a null in variables'), 400)
const multipartNotAllowedError = () =>
  withStatus(badArgument('body', `JSON; a form is for ${UPLOAD_FIELD} alone`), 400)
const bodyTooLargeError = () =>
  new GraphQLError('Request body too large', { extensions: { code: 'REQUEST_ENTITY_TOO_LARGE' } })
