/**
 * The door for the plain POST and yoga's own, asked the same: `application/graphql+json` is JSON to yoga too,
 * and never plain.
 */
import { once } from 'node:events'
import { type IncomingMessage, request, type ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { gzipSync } from 'node:zlib'
import { describe, expect, test, vi } from 'vitest'
import { createJsonFastPath } from '../../../src/server/http/json-fast-path.ts'
import type { Executor } from '../../../src/server/operation/executor.ts'
import type { TransportRequest } from '../../../src/server/operation/operation.ts'
import { type Harness, startGateway, submit } from '../../support/gateway.ts'

interface RawResponse {
  status: number | undefined
  headers: string[]
  body: string
}

interface PostBody {
  body: string | Buffer
  headers?: Record<string, string>
  /** Its length is not told. */
  isChunked?: boolean
}

async function post(
  harness: Harness,
  type: string,
  { body, headers = {}, isChunked = false }: PostBody,
): Promise<RawResponse> {
  const length: Record<string, string> = isChunked ? {} : { 'content-length': `${Buffer.byteLength(body)}` }
  const clientRequest = request(harness.gateway.endpoint, {
    method: 'POST',
    agent: false,
    headers: { authorization: `Bearer ${harness.key}`, 'content-type': type, ...length, ...headers },
  })
  clientRequest.on('error', () => {})
  clientRequest.end(body)
  const [response] = await once(clientRequest, 'response')
  // As they stand on the wire, but for the moment.
  const at = response.rawHeaders.indexOf('Date')
  const rawHeaders = response.rawHeaders.toSpliced(at, at < 0 ? 0 : 2)
  let text = ''
  for await (const chunk of response) {
    text += chunk
    // The feed has no end.
    if (text.startsWith(':\n\n')) return { status: response.statusCode, headers: rawHeaders, body: ':' }
  }
  return { status: response.statusCode, headers: rawHeaders, body: text }
}

const json = (query: unknown, more: object = {}) => JSON.stringify({ query, ...more })
const NODE =
  'query One($id: ID!) { node(id: $id) { __typename ... on Prediction { id status tags outputs { url } } } }'
const PAGE = '{ predictions(first: 2) { edges { cursor node { id createdAt } } pageInfo { hasNextPage } } }'
const UNKNOWN = { id: 'UHJlZGljdGlvbjp4' }
const FEED = 'subscription { predictionFeed { __typename } }'
const TWO = 'query A { viewer { name } } query B { viewer { id } }'

const CASES: [string, PostBody][] = [
  ['data', { body: json('{ viewer { name } }') }],
  ['data with variables', { body: json(NODE, { variables: UNKNOWN }) }],
  ['a page', { body: json(PAGE) }],
  [
    'no variables, by name',
    { body: json('{ viewer { name } }', { variables: null, operationName: null, extensions: null }) },
  ],
  ['one operation of two', { body: json(TWO, { operationName: 'B' }) }],
  ['none of two', { body: json(TWO) }],
  ['an operation that is not there', { body: json(TWO, { operationName: 'C' }) }],
  ['an empty name', { body: json(TWO, { operationName: '' }) }],
  ['a name that is none', { body: json(TWO, { operationName: 7 }) }],
  ['an alias like a prototype', { body: '{"query":"{ __proto__: viewer { constructor: name } }"}' }],
  [
    'a variable like a prototype',
    { body: '{"query":"{ viewer { name } }","variables":{"__proto__":{"id":1}}}' },
  ],
  [
    'characters of four bytes',
    { body: json('query ($id: ID!) { node(id: $id) { id } }', { variables: { id: '🦩' } }) },
  ],
  [
    'a refusal that is data',
    { body: json('mutation { cancelPrediction(input: {id: "x"}) { __typename } }') },
  ],
  ['introspection', { body: json('{ __type(name: "Query") { name } }') }],
  ['a fault of syntax', { body: json('{ viewer {') }],
  ['a field that is not there', { body: json('{ viewr { name } }') }],
  ['no operation at all', { body: json('fragment F on App { name }') }],
  ['an empty document', { body: json('') }],
  ['a document that is too long', { body: json(`{ __typename } #${'x'.repeat(70_000)}`) }],
  ['too many words', { body: json(`{ ${'__typename '.repeat(2100)} }`) }],
  ['a variable that is missing', { body: json(NODE) }],
  ['a variable of another type', { body: json(NODE, { variables: { id: {} } }) }],
  [
    'a cost that is too high',
    {
      body: json(
        '{ a: predictions(first: 100) { edges { node { history(first: 100) { edges { cursor } } } } } }',
      ),
    },
  ],
  [
    'a field that fails beside data',
    { body: json('{ viewer { name } predictions(first: -1) { edges { cursor } } }') },
  ],
  [
    'a field that may be null and fails',
    {
      body: json(
        '{ viewer { name } node(id: "x") { id } prediction(id: "") { history(after: "x") { edges { cursor } } } }',
      ),
    },
  ],
  ['a subscription', { body: json(FEED) }],
  [
    'a subscription where JSON alone is wanted',
    { body: json(FEED), headers: { accept: 'application/json' } },
  ],
  ['a subscription in parts', { body: json(FEED), headers: { accept: 'multipart/mixed' } }],
  ['a batch', { body: `[${json('{ viewer { name } }')}]` }],
  ['null', { body: 'null' }],
  ['a string', { body: '"{ viewer { name } }"' }],
  ['nothing', { body: '' }],
  ['no JSON', { body: '{"query": nonsense}' }],
  ['a mark of byte order', { body: `\ufeff${json('{ viewer { name } }')}` }],
  ['something behind it', { body: `${json('{ viewer { name } }')} and more` }],
  ['bytes that are no text', { body: Buffer.from([0x7b, 0xff, 0xfe, 0x7d]) }],
  ['no query', { body: '{"variables": {}}' }],
  ['a query that is none', { body: json(7) }],
  ['variables in a list', { body: json('{ viewer { name } }', { variables: [] }) }],
  ['variables as text', { body: json('{ viewer { name } }', { variables: '{}' }) }],
  ['extensions as text', { body: json('{ viewer { name } }', { extensions: 'x' }) }],
  ['a parameter nobody knows', { body: json('{ viewer { name } }', { id: 1 }) }],
  ['a parameter like a prototype', { body: '{"query":"{ viewer { name } }","__proto__":{"a":1}}' }],
  ['in pieces', { body: json('{ viewer { name } }'), isChunked: true }],
  ['a body that is too long', { body: json('{ viewer { name } }').padEnd(1_100_000) }],
  [
    'one that is too long, in pieces',
    { body: json('{ viewer { name } }').padEnd(1_100_000), isChunked: true },
  ],
  ['one just as long as may be', { body: json('{ viewer { name } }').padEnd(1_048_576) }],
  ['packed', { body: gzipSync(json('{ viewer { name } }')), headers: { 'content-encoding': 'gzip' } }],
  ['no key', { body: json('{ viewer { name } }'), headers: { authorization: '' } }],
  ['a wrong key', { body: 'no JSON', headers: { authorization: `Bearer rsh_${'x'.repeat(40)}` } }],
  ['another origin', { body: json('{ viewer { name } }'), headers: { origin: 'https://evil.example' } }],
  ...[
    '*/*',
    'application/json',
    'application/graphql-response+json',
    'application/graphql-response+json,application/json;q=0.9',
    'application/graphql-response+json, application/graphql+json, application/json, text/event-stream, multipart/mixed',
    'application/json, text/event-stream',
    'text/event-stream, application/json',
    'text/event-stream',
    'multipart/mixed',
    'multipart/mixed, application/json',
    'application/*',
    'APPLICATION/JSON',
    'application/json; charset=utf-8',
    'application/json; charset=latin1',
    'application/json; Charset=latin1',
    'application/json; Charset=latin1, application/graphql-response+json',
    '*/json, application/graphql-response+json',
    '*/graphql-response+json, application/json',
    'application / json, application/graphql-response+json',
    'application/json/x, application/graphql-response+json',
    'constructor',
    '__proto__',
    'toString, */*',
    'application/json;q=0',
    'text/html',
    'text/html, */*;q=0.1',
    'nonsense',
    '',
    ',',
  ].flatMap((accept): [string, PostBody][] => [
    [`data, accepting ${JSON.stringify(accept)}`, { body: json('{ viewer { name } }'), headers: { accept } }],
    [`a fault, accepting ${JSON.stringify(accept)}`, { body: json('{ viewer { name '), headers: { accept } }],
  ]),
]

describe.each([
  ['at first', 1],
  ['and when it is known', 2],
])('a POST is answered alike through both doors, %s:', (_, times) => {
  test('every kind of it', async () => {
    await using harness = await startGateway({ env: { ALLOWED_ORIGINS: 'https://app.example' } })
    for (let i = 0; i < 3; i++) await submit(harness, 'sim:seconds=30')
    for (const [what, asked] of CASES) {
      const both: RawResponse[] = []
      for (let i = 0; i < times; i++) {
        both.length = 0
        for (const type of ['application/json', 'application/graphql+json'])
          both.push(await post(harness, type, asked))
      }
      expect(both[0], what).toEqual(both[1])
      expect(both[0]!.status, what).toBeGreaterThanOrEqual(200)
    }
    expect(harness.log.filter(({ level }) => level === 'error')).toEqual([])
  })
})

describe('the door for the plain POST', () => {
  /** A request as Node makes it, from whoever sends `body`. */
  const incomingRequest = (body: string, headers: object = {}) =>
    Object.assign(Readable.from(body === '' ? [] : [Buffer.from(body)]), {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
    }) as unknown as IncomingMessage
  const OPERATION_REQUEST = { isClientGone: () => false } as TransportRequest

  function response() {
    const written = { status: 0, text: '' }
    const fakeResponse = {
      destroyed: false,
      writeHead(status: number) {
        written.status = status
        return fakeResponse
      },
      end(text: string) {
        written.text = text
      },
    }
    return Object.assign(fakeResponse, { written }) as unknown as ServerResponse & {
      written: typeof written
    }
  }

  /** Answers as `answer` says, and counts how often it was asked to. */
  function fakeExecutor(kind: string, answer: object) {
    const run = vi.fn(async () => answer)
    return { run, read: (async () => ({ kind, run })) as unknown as Executor['prepare'] }
  }

  test('answers what is plain itself', async () => {
    const { read, run } = fakeExecutor('query', { data: { a: 1 } })
    const answer = response()
    expect(
      await createJsonFastPath(read, 1000)(incomingRequest(json('{ a }')), answer, { ...OPERATION_REQUEST }),
    ).toBe(true)
    expect(answer.written).toEqual({ status: 200, text: '{"data":{"a":1}}' })
    expect(run).toHaveBeenCalledTimes(1)
  })

  test.each<[string, IncomingMessage]>([
    ['a body that is no JSON', incomingRequest('{')],
    ['a body that is longer than may be', incomingRequest(json('{ a }').padEnd(1001))],
    ['a length that is longer than may be', incomingRequest('', { 'content-length': '1001' })],
    ['another type of body', incomingRequest(json('{ a }'), { 'content-type': 'text/plain' })],
    ['another type of answer', incomingRequest(json('{ a }'), { accept: 'text/event-stream' })],
  ])('hands on %s, and runs nothing', async (_, request) => {
    const { read, run } = fakeExecutor('query', { data: null })
    expect(await createJsonFastPath(read, 1000)(request, response(), { ...OPERATION_REQUEST })).toBe(false)
    expect(run).not.toHaveBeenCalled()
  })

  test('hands on a subscription with its body, and runs nothing', async () => {
    const { read, run } = fakeExecutor('subscription', {})
    const request = incomingRequest(json('{ a }'))
    expect(await createJsonFastPath(read, 1000)(request, response(), { ...OPERATION_REQUEST })).toBe(false)
    expect(run).not.toHaveBeenCalled()
    const { body } = request as unknown as { body: AsyncIterable<Buffer> }
    expect(Buffer.concat(await Array.fromAsync(body))).toEqual(Buffer.from(json('{ a }')))
    // Yoga's server asks for the names of all that is in it.
    expect(Object.keys(body)).toHaveLength(1)
  })

  test('hands on the faults of a document, which is read once', async () => {
    const invalid = { errors: [] }
    const read = vi.fn(async () => invalid)
    const operationRequest: TransportRequest = { ...OPERATION_REQUEST }
    expect(
      await createJsonFastPath(read, 1000)(incomingRequest(json('{ b }')), response(), operationRequest),
    ).toBe(false)
    expect(operationRequest.precomputedResult).toBe(invalid)
    expect(read).toHaveBeenCalledTimes(1)
  })

  test('hands on errors with the answer that they are in', async () => {
    const result = { data: null, errors: [] }
    const { read, run } = fakeExecutor('mutation', result)
    const operationRequest: TransportRequest = { ...OPERATION_REQUEST }
    expect(
      await createJsonFastPath(read, 1000)(
        incomingRequest(json('mutation { a }')),
        response(),
        operationRequest,
      ),
    ).toBe(false)
    expect(operationRequest.precomputedResult).toBe(result)
    expect(run).toHaveBeenCalledTimes(1)
  })

  test('runs nothing of a body that was cut short', async () => {
    const { read, run } = fakeExecutor('mutation', { data: null })
    const request = incomingRequest('')
    const answered = createJsonFastPath(read, 1000)(request, response(), { ...OPERATION_REQUEST })
    request.destroy()
    expect(await answered).toBe(true)
    expect(run).not.toHaveBeenCalled()
  })
})

test('a mutation that brings data and an error is executed once', async () => {
  await using harness = await startGateway()
  const query = `mutation { submitVideo(input: { image: { url: "https://images.example/cat.png" }, prompt: "x" }) {
    ... on SubmitVideoPayload { prediction { retryOf { history(after: "x") { edges { cursor } } } history(after: "x") { edges { cursor } } } }
  } }`
  const response = await post(harness, 'application/json', { body: json(query) })
  expect(JSON.parse(response.body).errors).toHaveLength(1)
  const { data } = await harness.query('{ predictions { edges { cursor } } }')
  expect(data.predictions.edges).toHaveLength(1)
})

test('through either door a fault that nobody foresaw is masked and logged once, and a refusal is counted once', async () => {
  await using harness = await startGateway()
  await harness.query('{ viewer { name } }')
  const { store } = harness.gateway
  const { getApp } = store
  store.getApp = async () => {
    throw new Error('the disk is on fire')
  }
  const costly = json(
    '{ predictions(first: 100) { edges { node { history(first: 1000) { edges { cursor } } } } } }',
  )
  const answers = []
  for (const type of ['application/json', 'application/graphql+json']) {
    const before = harness.log.length
    const masked = await post(harness, type, { body: json('{ feedCursor viewer { name } }') })
    expect(masked.body).not.toContain('fire')
    expect(harness.log.slice(before)).toMatchObject([{ level: 'error' }])
    const { status, body } = await post(harness, type, { body: costly })
    answers.push([masked.status, masked.body.replace(/"feedCursor":"[^"]+"/, ''), status, body])
  }
  store.getApp = getApp
  expect(answers[0]).toEqual(answers[1])
  const metrics = await (await harness.fetch('/metrics')).text()
  expect(metrics).toMatch(/rushes_rejections_total\{app="test",code="QUERY_TOO_COMPLEX"\} 2\n/)
})
