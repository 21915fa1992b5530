/**
 * Fast path of most requests: a POST of JSON, or an upload, that is answered with data in JSON. It costs half as much as
 * yoga's HTTP.
 * Invariant: its responses equal yoga's. Everything else (errors, errors beside data, subscriptions, other
 * media types) is handed over to yoga together with the outcome, if there is one, so that nothing is executed twice.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type {
  GraphQLParams,
  InvalidOperation,
  OperationOutcome,
  PreparedOperation,
} from '../operation/operation.ts'

/** Answers a request whose parameters are in this JSON. */
export type AnswerJson = (
  request: Pick<IncomingMessage, 'headers'>,
  response: ServerResponse,
  body: Buffer,
  prepareParams: (params: GraphQLParams) => Promise<PreparedOperation | InvalidOperation>,
) => Promise<FastPathAnswer>

type FastPathAnswer =
  /** The response is written, or its client has disconnected. */
  | { kind: 'answered' }
  /** Yoga must answer. Null: the operation is not executed yet. */
  | { kind: 'hand-over'; outcome: OperationOutcome | null }

export const answerJson: AnswerJson = async ({ headers }, response, body, prepareParams) => {
  const type = negotiateResponseType(headers.accept)
  const params = type === null ? null : parseParams(body)
  if (type === null || params === null) return handOver()
  const operation = await prepareParams(params)
  if ('kind' in operation && operation.kind === 'subscription') return handOver()
  const outcome: OperationOutcome =
    'kind' in operation ? await operation.run() : { kind: 'result', result: operation }
  if (outcome.kind === 'subscription' || 'errors' in outcome.result) return handOver(outcome)
  const text = JSON.stringify(outcome.result)
  const responseHeaders = { 'Content-Type': type, 'content-length': Buffer.byteLength(text) }
  if (!response.destroyed) response.writeHead(200, responseHeaders).end(text)
  return { kind: 'answered' }
}

const handOver = (outcome: OperationOutcome | null = null): FastPathAnswer => ({
  kind: 'hand-over',
  outcome,
})

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
