/**
 * The way in for files: of a GraphQL multipart request the operation goes on as if it had come as JSON, with all that is
 * asked of such a one, and its file is put where it belongs.
 * Invariant: nothing of a body is read before whoever sends it is known, and nothing of a file before it may upload and
 * has a berth; and a form runs nothing but uploadImage alone.
 */
import { type ExecutionArgs, GraphQLError, getOperationAST, Kind } from 'graphql'
import type { Plugin } from 'graphql-yoga'
import { mayUpload } from '../../domain/access-scope.ts'
import type { Context, Services } from '../../graphql/context.ts'
import { badArgument } from '../../graphql/request-errors.ts'
import type { Rates } from '../limits/rate-limits.ts'
import { type Refused, slowedDown } from '../responses/error-response.ts'
import { placeFile, readForm } from '../uploads/multipart-parser.ts'
import { type Berths, createBerths } from '../uploads/upload-slots.ts'
import type { Door, Filed } from './operation.ts'

const UPLOAD = 'uploadImage'
/** Whoever finds no berth so long is told to come again. */
const PATIENCE_MS = 30_000

export const isForm = (method: string | undefined, contentType: string | null | undefined): boolean =>
  method === 'POST' && /^multipart\/form-data\s*(;|$)/i.test(contentType ?? '')

/** Behind whatever says who asks, and before whatever reads. */
export function useForms(
  rates: Pick<Rates, 'ofUpload'>,
  { refused }: Pick<Services, 'refused'>,
  berths: Berths = createBerths(),
): Plugin<Context & Door, Door> {
  return {
    async onRequest({ request, serverContext, setRequest, endResponse, fetchAPI }) {
      const { headers } = request
      const caller = serverContext?.caller
      if (!caller || !isForm(request.method, headers.get('content-type'))) return
      const { appId } = caller.scope
      const refuse = ({ status, error, headers = {} }: Refused) =>
        endResponse(fetchAPI.Response.json({ errors: [error] }, { status, headers }))
      const slowed = await rates.ofUpload(caller)
      if (slowed !== null) {
        refused(appId, 'RATE_LIMITED')
        return refuse(slowedDown(slowed))
      }

      // Of one who may not, no file is read: uploadImage itself says so.
      const isWanted = mayUpload(caller)
      const patience = AbortSignal.any([request.signal, AbortSignal.timeout(PATIENCE_MS)])
      const leave = isWanted ? await berths.take(appId, patience).catch(() => null) : () => {}
      if (leave === null) {
        refused(appId, 'RATE_LIMITED')
        return refuse(slowedDown(PATIENCE_MS))
      }
      const form = await readForm(request, fetchAPI, isWanted).catch(error => {
        leave()
        throw error
      })
      if ('fault' in form) {
        leave()
        const error = form.status === 413 ? tooLarge() : badArgument('body', form.fault)
        return refuse({ status: form.status, error })
      }
      const { path, file } = form
      Object.assign(serverContext, { filed: { path, file, leave } satisfies Filed })
      setRequest(asJson(request, form.operations, fetchAPI.Request))
    },

    onParams({ params, context, setResult }) {
      const { filed } = context as Partial<Door>
      if (filed && !placeFile(params, filed)) setResult({ errors: [unplaced()] })
    },

    onExecute({ args, setResultAndStopExecution }) {
      if ((args.contextValue as Door).filed && !isUploadAlone(args))
        setResultAndStopExecution({ errors: [notForForms()] })
    },

    onSubscribe({ args, setResultAndStopExecution }) {
      if ((args.contextValue as Door).filed) setResultAndStopExecution({ errors: [notForForms()] })
    },

    onResponse({ serverContext }) {
      serverContext?.filed?.leave()
    },
  }
}

function asJson(request: Request, body: string, Request: typeof globalThis.Request): Request {
  const headers = new Headers(request.headers)
  headers.delete('content-length')
  headers.delete('transfer-encoding')
  headers.set('content-type', 'application/json; charset=utf-8')
  return new Request(request.url, { method: 'POST', headers, body, signal: request.signal })
}

function isUploadAlone({ document, operationName }: ExecutionArgs): boolean {
  const operation = getOperationAST(document, operationName)
  const [only, ...others] = operation?.selectionSet.selections ?? []
  return (
    operation?.operation === 'mutation' &&
    others.length === 0 &&
    only?.kind === Kind.FIELD &&
    only.name.value === UPLOAD
  )
}

const withStatus = (error: GraphQLError, status: number): GraphQLError => {
  error.extensions.http = { status }
  return error
}

const unplaced = () => withStatus(badArgument('map', 'the path of a null in variables'), 400)
const notForForms = () => withStatus(badArgument('body', `JSON; a form is for ${UPLOAD} alone`), 400)
const tooLarge = () =>
  new GraphQLError('Request body too large', { extensions: { code: 'REQUEST_ENTITY_TOO_LARGE' } })
