/**
 * Fast path of most requests: a POST of JSON, or an upload, that is answered with data in JSON. It costs half as much as
 * yoga's HTTP.
 * Invariant: its responses equal yoga's. Everything else (errors, errors beside data, subscriptions, other
 * media types) is handed over to yoga together with the body and the outcome, if there are any, so that nothing is
 * executed twice.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Services } from '../../graphql/context.ts'
import type {
  GraphQLParams,
  InvalidOperation,
  OperationOutcome,
  OperationRequest,
  PreparedOperation,
  PrepareOperation,
} from '../operation/operation.ts'

export interface JsonFastPath {
  /** Reads the body of a request and answers it. */
  answer(
    request: IncomingMessage,
    response: ServerResponse,
    operation: Omit<OperationRequest, 'params' | 'httpRequest'>,
  ): Promise<FastPathAnswer>
  /** Answers a request whose parameters are in this JSON. */
  answerJson(
    request: Pick<IncomingMessage, 'headers'>,
    response: ServerResponse,
    body: Buffer,
    prepareParams: PrepareParams,
  ): Promise<FastPathAnswer>
}

type PrepareParams = (params: GraphQLParams) => Promise<PreparedOperation | InvalidOperation>

type FastPathAnswer =
  /** The response is written, or its client has disconnected. */
  | { kind: 'answered' }
  /** Yoga must answer. Null: the body is not read yet, the operation not executed yet. */
  | { kind: 'hand-over'; body: Buffer | null; outcome: OperationOutcome | null }

/** Larger bodies take over a millisecond to parse. */
const SLICE_BODY_BYTES = 64 * 1024

export function createJsonFastPath(
  prepare: PrepareOperation,
  maxMessageBytes: number,
  nextSlice: Services['nextSlice'],
): JsonFastPath {
  const answerJson: JsonFastPath['answerJson'] = async ({ headers }, response, body, prepareParams) => {
    const type = negotiateResponseType(headers.accept)
    const params = body.length > maxMessageBytes ? null : parseParams(body)
    if (type === null || params === null) return handOver(body)
    const operation = await prepareParams(params)
    if ('kind' in operation && operation.kind === 'subscription') return handOver(body)
    const outcome: OperationOutcome =
      'kind' in operation ? await operation.run() : { kind: 'result', result: operation }
    if (outcome.kind === 'subscription' || 'errors' in outcome.result) return handOver(body, outcome)
    const text = JSON.stringify(outcome.result)
    const responseHeaders = { 'Content-Type': type, 'content-length': Buffer.byteLength(text) }
    if (!response.destroyed) response.writeHead(200, responseHeaders).end(text)
    return ANSWERED
  }

  return {
    async answer(request, response, operation) {
      if (!isJsonPost(request, maxMessageBytes) || negotiateResponseType(request.headers.accept) === null)
        return handOver(null)
      const body = await readBody(request, maxMessageBytes)
      if (body === null) return ANSWERED
      if (body.length > SLICE_BODY_BYTES) await nextSlice(operation.caller.scope.appId)
      return answerJson(request, response, body, params =>
        prepare({ ...operation, params, httpRequest: null }),
      )
    },
    answerJson,
  }
}

const ANSWERED: FastPathAnswer = { kind: 'answered' }
const handOver = (body: Buffer | null, outcome: OperationOutcome | null = null): FastPathAnswer => ({
  kind: 'hand-over',
  body,
  outcome,
})

const isJsonPost = ({ method, headers }: IncomingMessage, maxMessageBytes: number): boolean =>
  method === 'POST' &&
  /^application\/json(;|$)/.test(headers['content-type'] ?? '') &&
  !(Number(headers['content-length']) > maxMessageBytes)

const JSON_TYPE = 'application/json; charset=utf-8'
const RESPONSE_TYPES: Readonly<Record<string, string>> = {
  __proto__: null as never,
  'application/json': JSON_TYPE,
  'application/graphql-response+json': 'application/graphql-response+json; charset=utf-8',
  'application/*': JSON_TYPE,
  '*/*': JSON_TYPE,
}

/** Clients list these media types too. Data is never sent in them. */
const NON_DATA_TYPES: ReadonlySet<string> = new Set([
  'application/graphql+json',
  'text/event-stream',
  'multipart/mixed',
])

/** The first media type in which data can be sent, as yoga chooses it. Null: yoga decides. */
function negotiateResponseType(accept = '*/*'): string | null {
  const header = accept.toLowerCase()
  if (header.includes('charset')) return null
  let first: string | null = null
  for (const entry of header.split(',')) {
    const name = entry.split(';', 1)[0]!.trim()
    if (!(name in RESPONSE_TYPES) && !NON_DATA_TYPES.has(name)) return null
    first ??= RESPONSE_TYPES[name] ?? null
  }
  return first
}

/** Null: the client has disconnected. Reading stops once the body is too long. */
const readBody = (request: IncomingMessage, maxMessageBytes: number): Promise<Buffer | null> =>
  new Promise(resolve => {
    const chunks: Buffer[] = []
    let bytes = 0
    const finish = () => resolve(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks))
    request.on('data', function onData(chunk: Buffer) {
      chunks.push(chunk)
      bytes += chunk.length
      if (bytes <= maxMessageBytes) return
      // The rest is discarded.
      request.off('data', onData)
      finish()
    })
    request.once('end', finish)
    request.once('close', () => resolve(null))
  })

/** Null: the parameters are invalid, and yoga reports how. */
function parseParams(body: Buffer): GraphQLParams | null {
  try {
    const params = JSON.parse(body.toString()) as unknown
    return isParams(params) ? params : null
  } catch {
    return null
  }
}

const PARAM_NAMES: ReadonlySet<string> = new Set(['query', 'variables', 'operationName', 'extensions'])

function isParams(params: unknown): params is GraphQLParams {
  if (!isObject(params) || !Object.keys(params).every(name => PARAM_NAMES.has(name))) return false
  const { query, variables = null, operationName = null, extensions = null } = params
  return (
    typeof query === 'string' &&
    (operationName === null || typeof operationName === 'string') &&
    (variables === null || isObject(variables)) &&
    (extensions === null || isObject(extensions))
  )
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
