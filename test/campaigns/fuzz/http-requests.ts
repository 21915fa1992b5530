/**
 * Random HTTP requests as bytes, and faults in the responses.
 */
import fc from 'fast-check'
import type { Operation } from './graphql-operations.ts'
import { resultFaults, statusFaults, textFaults } from './response-check.ts'
import type { RawExchange } from './scenario.ts'

export interface RequestSources {
  operations: fc.Arbitrary<Operation>
  bearers: readonly string[]
}

const noise = (maxBytes: number) =>
  fc.uint8Array({ maxLength: maxBytes }).map(bytes => Buffer.from(bytes).toString('latin1'))
const METHODS = [
  'POST',
  'POST',
  'POST',
  'GET',
  'GET',
  'OPTIONS',
  'HEAD',
  'PUT',
  'DELETE',
  'TRACE',
  'CONNECT',
  'PATCH',
  'QUERY',
  'get',
  'PRI',
  'G ET',
  '',
]
const TARGETS = [
  '/graphql',
  '/graphql',
  '/graphql',
  '/graphql?query=%7Bviewer%7Bname%7D%7D',
  '/graphql?query=subscription%7BpredictionFeed%7B__typename%7D%7D',
  '/graphql?query=%',
  '/graphql?query={a&variables=[&extensions=%ff',
  '/graphql?query=%7B__typename%7D&variables=%7B%22a%22:1&operationName=__proto__',
  '/graphql/',
  '//graphql',
  '/graphql/../metrics',
  '/health/live',
  '/health/ready',
  '/metrics',
  '/webhooks/wavespeed?p=%00',
  '/',
  '*',
  '',
  'graphql',
  'http://example.com/graphql',
  'http://[/graphql',
  '/%',
  '/?\u0000',
  '//[',
  '/\\graphql',
]
const CONTENT_TYPES = [
  'application/json',
  'application/json',
  'application/json; charset=utf-8',
  'application/json; charset=utf-16',
  'application/graphql',
  'application/x-www-form-urlencoded',
  'multipart/form-data; boundary=x',
  'multipart/form-data',
  'text/plain',
  'application/graphql-response+json',
  'a/b;;;=',
  ',',
]
const ACCEPTS = [
  'application/json',
  'application/graphql-response+json',
  'text/event-stream',
  'multipart/mixed',
  '*/*',
  'text/html',
  'image/png',
  ';q=',
  'application/json;q=NaN, text/event-stream;q=2',
]

const headers = (bearers: readonly string[]): fc.Arbitrary<string> =>
  fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom(...bearers).map(bearer => `Authorization: Bearer ${bearer}`) },
    { weight: 5, arbitrary: fc.constantFrom(...CONTENT_TYPES).map(type => `Content-Type: ${type}`) },
    { weight: 3, arbitrary: fc.constantFrom(...ACCEPTS).map(accept => `Accept: ${accept}`) },
    {
      weight: 8,
      arbitrary: fc.constantFrom(
        'Host: x:99999',
        'Host: ',
        'Host: [::1',
        'Host: a b',
        'Host: é',
        'Connection: close',
        'Connection: keep-alive, Upgrade',
        'Connection: Upgrade\r\nUpgrade: websocket',
        'Connection: Upgrade\r\nUpgrade: h2c',
        'Expect: 100-continue',
        'Expect: nonsense',
        'Transfer-Encoding: chunked',
        'Transfer-Encoding: gzip, chunked',
        'Transfer-Encoding: identity',
        'Content-Length: 0',
        'Content-Length: -1',
        'Content-Length: 5, 6',
        'Content-Length: 99999999999999999999',
        'Content-Encoding: gzip',
        'Content-Encoding: br',
        'Content-Encoding: nonsense',
        'Last-Event-ID: nonsense',
        'Last-Event-ID: \u00ff',
        'Origin: null',
        'Origin: https://evil.example',
        'Access-Control-Request-Method: \u00e9',
        'Access-Control-Request-Headers: a,,b;c',
        'X-Forwarded-For: 1.2.3.4, ',
        'X-Forwarded-Proto: gopher',
        'Forwarded: for=;;',
        'Authorization: Bearer',
        'Authorization: Basic x',
        'Authorization',
        ': empty',
        ' folded',
        'A\u0000: b',
      ),
    },
    { weight: 1, arbitrary: fc.nat({ max: 20_000 }).map(length => `X-Long: ${'x'.repeat(length)}`) },
    {
      weight: 1,
      arbitrary: fc
        .nat({ max: 300 })
        .map(count => Array.from({ length: count }, (_, i) => `X-${i}: 1`).join('\r\n')),
    },
    { weight: 1, arbitrary: noise(40) },
  )

const bodies = (operations: fc.Arbitrary<Operation>): fc.Arbitrary<string> =>
  fc.oneof(
    { weight: 5, arbitrary: operations.map(operation => JSON.stringify(operation)) },
    { weight: 1, arbitrary: operations.map(operation => JSON.stringify([operation, operation])) },
    { weight: 1, arbitrary: operations.map(({ query }) => query) },
    {
      weight: 1,
      arbitrary: operations.map(
        ({ query }) => `query=${encodeURIComponent(query.toWellFormed())}&variables=%7B`,
      ),
    },
    {
      weight: 3,
      arbitrary: fc
        .record(
          {
            query: fc.jsonValue(),
            variables: fc.jsonValue(),
            operationName: fc.jsonValue(),
            extensions: fc.jsonValue(),
          },
          { requiredKeys: [] },
        )
        .map(parts => JSON.stringify(parts)),
    },
    { weight: 2, arbitrary: fc.json() },
    {
      weight: 2,
      arbitrary: fc
        .tuple(fc.constantFrom('operations', 'map', '0', '__proto__', ''), fc.json(), noise(20))
        .map(
          ([name, json, tail]) =>
            `--x\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${json}\r\n--x\r\nContent-Disposition: form-data; name="0"; filename="a"\r\n\r\n${tail}\r\n--x--`,
        ),
    },
    { weight: 2, arbitrary: noise(200) },
    {
      weight: 1,
      arbitrary: fc.constantFrom(
        '[',
        '{"query":',
        '"',
        '{"query":"{__typename}"}'.repeat(2),
        '[['.repeat(5000),
        '\ufeff{}',
      ),
    },
  )

const FRAMINGS = [
  'length',
  'length',
  'length',
  'chunks',
  'short',
  'long',
  'none',
  'broken chunks',
  'endless chunk',
] as const

function frameBody(body: string, framing: (typeof FRAMINGS)[number]): [header: string, body: string] {
  const bytes = Buffer.from(body)
  const text = bytes.toString('latin1')
  const half = Math.floor(text.length / 2)
  const chunk = (part: string) => (part === '' ? '' : `${part.length.toString(16)}\r\n${part}\r\n`)
  if (framing === 'none') return ['', text]
  if (framing === 'length') return [`Content-Length: ${bytes.length}\r\n`, text]
  if (framing === 'short') return [`Content-Length: ${half}\r\n`, text]
  if (framing === 'long') return [`Content-Length: ${bytes.length + 10}\r\n`, text]
  const chunked = 'Transfer-Encoding: chunked\r\n'
  if (framing === 'chunks')
    return [chunked, `${chunk(text.slice(0, half))}${chunk(text.slice(half))}0\r\n\r\n`]
  if (framing === 'endless chunk') return [chunked, `ffffffff;x=y\r\n${text}`]
  return [chunked, `${chunk(text.slice(0, half))}zz\r\n${text}`]
}

const requests = ({ operations, bearers }: RequestSources): fc.Arbitrary<string> =>
  fc
    .record({
      method: fc.constantFrom(...METHODS),
      target: fc.oneof(
        { weight: 9, arbitrary: fc.constantFrom(...TARGETS) },
        { weight: 1, arbitrary: noise(20).map(text => `/${text}`) },
      ),
      version: fc.oneof(
        { weight: 12, arbitrary: fc.constant('HTTP/1.1') },
        fc.constantFrom('HTTP/1.0', 'HTTP/0.9', 'HTTP/2.0', 'HTTP/9', '', 'RTSP/1.0'),
      ),
      lines: fc.array(headers(bearers), { maxLength: 5 }),
      hasUsualHeaders: fc.boolean(),
      body: bodies(operations),
      framing: fc.constantFrom(...FRAMINGS),
    })
    .map(({ method, target, version, lines, hasUsualHeaders, body, framing }) => {
      const usualHeaders = hasUsualHeaders
        ? ['Host: 127.0.0.1', `Authorization: Bearer ${bearers[0]}`, 'Content-Type: application/json']
        : ['Host: 127.0.0.1']
      const [header, text] = frameBody(body, framing)
      return `${method} ${target} ${version}\r\n${[...usualHeaders, ...lines].map(line => `${line}\r\n`).join('')}${header}\r\n${text}`
    })

/** Bytes changed, deleted or inserted. */
const applyEdits = (text: string, edits: readonly (readonly [number, number, string])[]): Buffer => {
  let bytes = text
  for (const [at, deletedCount, inserted] of edits) {
    const i = at % (bytes.length || 1)
    bytes = bytes.slice(0, i) + inserted + bytes.slice(i + deletedCount)
  }
  return Buffer.from(bytes, 'latin1')
}

export const byteEdits = fc.oneof(
  { weight: 3, arbitrary: fc.constant([]) },
  { weight: 2, arbitrary: fc.array(fc.tuple(fc.nat(), fc.nat({ max: 4 }), noise(4)), { maxLength: 4 }) },
)

export const splitAt = (bytes: Buffer, cuts: readonly number[]): Buffer[] => {
  const offsets = [...new Set(cuts.map(at => at % (bytes.length || 1)))].sort((a, b) => a - b)
  return [0, ...offsets].map((from, i) => bytes.subarray(from, offsets[i])).filter(chunk => chunk.length > 0)
}

export const ENDINGS = ['wait', 'wait', 'half-close', 'reset'] as const

/** Sends one to three requests on one connection, in chunks. */
export const httpExchanges = (sources: RequestSources): fc.Arbitrary<RawExchange> =>
  fc
    .record({
      texts: fc.array(requests(sources), { minLength: 1, maxLength: 3 }),
      damage: byteEdits,
      cuts: fc.array(fc.nat(), { maxLength: 4 }),
      ending: fc.constantFrom(...ENDINGS),
    })
    .map(({ texts, damage, cuts, ending }) => ({
      chunks: splitAt(applyEdits(texts.join(''), damage), cuts),
      ending,
    }))

const RESPONSE_HEAD = /^HTTP\/1\.[01] (\d{3}) [^\r\n]*\r\n((?:[!#$%&'*+.^_`|~\w-]+:[^\r\n]*\r\n)*)\r\n/

/** The faults of each response in `bytes`. */
export function httpFaults(bytes: Buffer, { chunks }: RawExchange): string[] {
  const faults: string[] = []
  // A HEAD response has no body, whatever its headers say.
  const mayLackBody = Buffer.concat(chunks).includes('HEAD')
  let remaining = bytes.toString('latin1')
  while (remaining !== '') {
    const head = RESPONSE_HEAD.exec(remaining)
    if (head === null) return [...faults, `not HTTP: ${JSON.stringify(remaining.slice(0, 300))}`]
    remaining = remaining.slice(head[0].length)
    const status = Number(head[1])
    faults.push(...statusFaults(status))
    if (status < 200 || status === 204 || status === 304) continue
    if (mayLackBody) return faults
    const header = (name: string) => new RegExp(`^${name}: *(.*)\\r$`, 'im').exec(head[2]!)?.[1]
    const body = parseBody(remaining, header('content-length'), header('transfer-encoding'))
    const text = Buffer.from(body.text, 'latin1').toString()
    faults.push(...textFaults(text))
    const type = header('content-type') ?? ''
    if (body.isComplete && /json/.test(type) && text !== '') {
      if (status === 200 || text.includes('"errors"')) faults.push(...jsonFaults(text))
    }
    if (/text\/event-stream/.test(type))
      for (const [, data] of text.matchAll(/^data: (.+)$/gm)) faults.push(...resultFaults(data!))
    remaining = body.remaining
  }
  return faults
}

/** Health is JSON too, but not a GraphQL result. */
const jsonFaults = (text: string): string[] => (/^\{"status":"\w+"/.test(text) ? [] : resultFaults(text))

interface ParsedBody {
  text: string
  remaining: string
  isComplete: boolean
}

function parseBody(remaining: string, length: string | undefined, encoding: string | undefined): ParsedBody {
  if (encoding === 'chunked') {
    let text = ''
    let unread = remaining
    for (;;) {
      const size = /^([\da-f]+)\r\n/i.exec(unread)
      if (size === null) return { text, remaining: '', isComplete: false }
      const bytes = Number.parseInt(size[1]!, 16)
      unread = unread.slice(size[0].length)
      text += unread.slice(0, bytes)
      unread = unread.slice(bytes + 2)
      if (bytes === 0) return { text, remaining: unread, isComplete: true }
    }
  }
  if (length === undefined) return { text: remaining, remaining: '', isComplete: true }
  const size = Number(length)
  return {
    text: remaining.slice(0, size),
    remaining: remaining.slice(size),
    isComplete: remaining.length >= size,
  }
}
