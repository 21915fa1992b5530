/**
 * The door for what nearly all requests are: a POST of JSON whose answer is data, in JSON. It costs a third of the way
 * through yoga's HTTP.
 * Invariant: nobody can tell it from the other. Whatever it would have to put into words (a fault, an error beside data, a
 * subscription, another media type) it hands on to yoga with all that has come of it, so that nothing is executed twice.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Door } from './door.ts'
import type { Executor, Params } from './executor.ts'

/** False: it is yoga's, with `door.answer` where it has been executed. */
export type PlainPost = (request: IncomingMessage, response: ServerResponse, door: Door) => Promise<boolean>

/** @param mostBytes of a body */
export const createPlainPost =
  (read: Executor['read'], mostBytes: number): PlainPost =>
  async (request, response, door) => {
    const type = isPlain(request, mostBytes) ? answerType(request.headers.accept) : null
    if (type === null) return false
    const body = await bodyOf(request, mostBytes)
    if (body === null) return true
    // Where a framework would have left it: yoga looks there, for the request itself is read.
    Object.assign(request, { body })
    const params = body.length > mostBytes ? null : paramsIn(body)
    if (params === null) return false

    const operation = await read({ ...door, params })
    if ('errors' in operation || operation.kind === null || operation.kind === 'subscription') return false
    const answer = await operation.run()
    if ('errors' in answer) {
      door.answer = answer
      return false
    }
    const text = JSON.stringify(answer)
    const headers = { 'content-type': type, 'content-length': Buffer.byteLength(text) }
    if (!response.destroyed) response.writeHead(200, headers).end(text)
    return true
  }

const isPlain = ({ method, headers }: IncomingMessage, mostBytes: number): boolean =>
  method === 'POST' &&
  /^application\/json(;|$)/.test(headers['content-type'] ?? '') &&
  !(Number(headers['content-length']) > mostBytes)

const JSON_TYPE = 'application/json; charset=utf-8'
const TYPES: Readonly<Record<string, string>> = {
  'application/json': JSON_TYPE,
  'application/graphql-response+json': 'application/graphql-response+json; charset=utf-8',
  'application/*': JSON_TYPE,
  '*/*': JSON_TYPE,
}

/** Of data, the first that is named, as yoga has it; null: yoga knows better. */
function answerType(accept = '*/*'): string | null {
  if (accept.includes('charset')) return null
  for (const entry of accept.toLowerCase().split(',')) {
    const type = TYPES[entry.split(';', 1)[0]!.trim()]
    if (type !== undefined) return type
  }
  return null
}

/** Null: whoever sent it has gone. A body that is too long is read no further than that. */
const bodyOf = (request: IncomingMessage, mostBytes: number): Promise<Buffer | null> =>
  new Promise(resolve => {
    const chunks: Buffer[] = []
    let bytes = 0
    const end = () => resolve(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks))
    request.on('data', function take(chunk: Buffer) {
      chunks.push(chunk)
      bytes += chunk.length
      if (bytes <= mostBytes) return
      // The rest flows away.
      request.off('data', take)
      end()
    })
    request.once('end', end)
    request.once('close', () => resolve(null))
  })

/** Null: yoga says what is wrong with them. */
function paramsIn(body: Buffer): Params | null {
  try {
    const params = JSON.parse(body.toString()) as unknown
    return isParams(params) ? params : null
  } catch {
    return null
  }
}

const KNOWN: ReadonlySet<string> = new Set(['query', 'variables', 'operationName', 'extensions'])

function isParams(params: unknown): params is Params {
  if (!isObject(params) || !Object.keys(params).every(name => KNOWN.has(name))) return false
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
