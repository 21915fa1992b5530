/**
 * The door for what nearly all requests are: a POST of JSON whose answer is data, in JSON. It costs half of the way
 * through yoga's HTTP.
 * Invariant: nobody can tell it from the other. Whatever it would have to put into words (a fault, an error beside data, a
 * subscription, another media type) it hands on to yoga with all that has come of it, so that nothing is executed twice.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { GraphQLParams, PrepareOperation, TransportRequest } from '../operation/operation.ts'

/** False: it is yoga's, with `door.answer` where it has been executed. */
export type JsonFastPath = (
  request: IncomingMessage,
  response: ServerResponse,
  transportRequest: TransportRequest,
) => Promise<boolean>

/** @param maxMessageBytes of a body */
export const createJsonFastPath =
  (prepare: PrepareOperation, maxMessageBytes: number): JsonFastPath =>
  async (request, response, transportRequest) => {
    const type = isJsonPost(request, maxMessageBytes) ? negotiateResponseType(request.headers.accept) : null
    if (type === null) return false
    const body = await readBody(request, maxMessageBytes)
    if (body === null) return true
    const delegateToYoga = (outcome: Pick<TransportRequest, 'precomputedResult'> = {}) => {
      // Where a framework would have left it: yoga looks there, for the request itself is read.
      Object.assign(request, { body: replayBody(body) })
      Object.assign(transportRequest, outcome)
      return false
    }
    const params = body.length > maxMessageBytes ? null : parseParams(body)
    if (params === null) return delegateToYoga()

    const operation = await prepare({ ...transportRequest, params })
    if ('kind' in operation && operation.kind === 'subscription') return delegateToYoga()
    const result = 'errors' in operation ? operation : await operation.run()
    if ('errors' in result) return delegateToYoga({ precomputedResult: result })
    const text = JSON.stringify(result)
    const headers = { 'Content-Type': type, 'content-length': Buffer.byteLength(text) }
    if (!response.destroyed) response.writeHead(200, headers).end(text)
    return true
  }

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

/** What clients name beside them, and data is never sent as. */
const NON_DATA_TYPES: ReadonlySet<string> = new Set([
  'application/graphql+json',
  'text/event-stream',
  'multipart/mixed',
])

/** Of data, the first that is named, as yoga has it; null: yoga knows better. */
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

/** A Buffer has a name for each byte, and all are asked for: a million of them hold the loop for 50 ms. */
const replayBody = (body: Buffer) => ({
  bytes: body.length,
  async *[Symbol.asyncIterator]() {
    yield body
  },
})

/** Null: whoever sent it has gone. A body that is too long is read no further than that. */
const readBody = (request: IncomingMessage, maxMessageBytes: number): Promise<Buffer | null> =>
  new Promise(resolve => {
    const chunks: Buffer[] = []
    let bytes = 0
    const finish = () => resolve(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks))
    request.on('data', function onData(chunk: Buffer) {
      chunks.push(chunk)
      bytes += chunk.length
      if (bytes <= maxMessageBytes) return
      // The rest flows away.
      request.off('data', onData)
      finish()
    })
    request.once('end', finish)
    request.once('close', () => resolve(null))
  })

/** Null: yoga says what is wrong with them. */
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
