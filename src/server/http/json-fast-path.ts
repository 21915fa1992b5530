/**
 * The door for what nearly all requests are: a POST of JSON whose answer is data, in JSON. It costs half of the way
 * through yoga's HTTP.
 * Invariant: nobody can tell it from the other. Whatever it would have to put into words (a fault, an error beside data, a
 * subscription, another media type) it hands on to yoga with all that has come of it, so that nothing is executed twice.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Door, Params, Read } from '../operation/operation.ts'

/** False: it is yoga's, with `door.answer` where it has been executed. */
export type PlainPost = (request: IncomingMessage, response: ServerResponse, door: Door) => Promise<boolean>

/** @param mostBytes of a body */
export const createPlainPost =
  (read: Read, mostBytes: number): PlainPost =>
  async (request, response, door) => {
    const type = isPlain(request, mostBytes) ? answerType(request.headers.accept) : null
    if (type === null) return false
    const body = await bodyOf(request, mostBytes)
    if (body === null) return true
    const handOn = (more: Pick<Door, 'answer'> = {}) => {
      // Where a framework would have left it: yoga looks there, for the request itself is read.
      Object.assign(request, { body: again(body) })
      Object.assign(door, more)
      return false
    }
    const params = body.length > mostBytes ? null : paramsIn(body)
    if (params === null) return handOn()

    const operation = await read({ ...door, params })
    if ('kind' in operation && operation.kind === 'subscription') return handOn()
    const answer = 'errors' in operation ? operation : await operation.run()
    if ('errors' in answer) return handOn({ answer })
    const text = JSON.stringify(answer)
    const headers = { 'Content-Type': type, 'content-length': Buffer.byteLength(text) }
    if (!response.destroyed) response.writeHead(200, headers).end(text)
    return true
  }

const isPlain = ({ method, headers }: IncomingMessage, mostBytes: number): boolean =>
  method === 'POST' &&
  /^application\/json(;|$)/.test(headers['content-type'] ?? '') &&
  !(Number(headers['content-length']) > mostBytes)

const JSON_TYPE = 'application/json; charset=utf-8'
const TYPES: Readonly<Record<string, string>> = {
  __proto__: null as never,
  'application/json': JSON_TYPE,
  'application/graphql-response+json': 'application/graphql-response+json; charset=utf-8',
  'application/*': JSON_TYPE,
  '*/*': JSON_TYPE,
}

/** What clients name beside them, and data is never sent as. */
const OTHERS: ReadonlySet<string> = new Set([
  'application/graphql+json',
  'text/event-stream',
  'multipart/mixed',
])

/** Of data, the first that is named, as yoga has it; null: yoga knows better. */
function answerType(accept = '*/*'): string | null {
  const header = accept.toLowerCase()
  if (header.includes('charset')) return null
  let first: string | null = null
  for (const entry of header.split(',')) {
    const name = entry.split(';', 1)[0]!.trim()
    if (!(name in TYPES) && !OTHERS.has(name)) return null
    first ??= TYPES[name] ?? null
  }
  return first
}

/** A Buffer has a name for each byte, and all are asked for: a million of them hold the loop for 50 ms. */
const again = (body: Buffer) => ({
  bytes: body.length,
  async *[Symbol.asyncIterator]() {
    yield body
  },
})

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
