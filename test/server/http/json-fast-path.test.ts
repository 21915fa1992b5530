/**
 * The JSON fast path and yoga's own HTTP, given the same requests. `application/graphql+json` is JSON to yoga
 * too, and never takes the fast path.
 */
import { once } from 'node:events'
import { request, type ServerResponse } from 'node:http'
import { gzipSync } from 'node:zlib'
import { describe, expect, test, vi } from 'vitest'
import { answerJson } from '../../../src/server/http/json-fast-path.ts'
import type { OperationOutcome, PreparedOperation } from '../../../src/server/operation/operation.ts'
import { type Harness, startGateway, submit } from '../../support/gateway.ts'

interface RawResponse {
  status: number | undefined
  headers: string[]
  body: string
}

interface PostBody {
  body: string | Buffer
  headers?: Record<string, string>
  /** Sent without a content-length. */
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
  // The headers as they were sent, without the date.
  const at = response.rawHeaders.indexOf('Date')
  const rawHeaders = response.rawHeaders.toSpliced(at, at < 0 ? 0 : 2)
  let text = ''
  for await (const chunk of response) {
    text += chunk
    // The feed does not end.
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
  ['no name for one of two operations', { body: json(TWO) }],
  ['an operation that is not there', { body: json(TWO, { operationName: 'C' }) }],
  ['an empty name', { body: json(TWO, { operationName: '' }) }],
  ['a name that is not a string', { body: json(TWO, { operationName: 7 }) }],
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
    'a mutation error, which is data',
    { body: json('mutation { cancelPrediction(input: {id: "x"}) { __typename } }') },
  ],
  ['introspection', { body: json('{ __type(name: "Query") { name } }') }],
  ['a syntax error', { body: json('{ viewer {') }],
  ['a field that is not there', { body: json('{ viewr { name } }') }],
  ['no operation at all', { body: json('fragment F on App { name }') }],
  ['an empty document', { body: json('') }],
  ['a document that is too long', { body: json(`{ __typename } #${'x'.repeat(70_000)}`) }],
  ['too many tokens', { body: json(`{ ${'__typename '.repeat(2100)} }`) }],
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
  ['a subscription with only JSON accepted', { body: json(FEED), headers: { accept: 'application/json' } }],
  ['a subscription in parts', { body: json(FEED), headers: { accept: 'multipart/mixed' } }],
  ['a batch', { body: `[${json('{ viewer { name } }')}]` }],
  ['null', { body: 'null' }],
  ['a string', { body: '"{ viewer { name } }"' }],
  ['nothing', { body: '' }],
  ['text that is not JSON', { body: '{"query": nonsense}' }],
  ['a byte order mark', { body: `\ufeff${json('{ viewer { name } }')}` }],
  ['text behind the JSON', { body: `${json('{ viewer { name } }')} and more` }],
  ['bytes that are not UTF-8', { body: Buffer.from([0x7b, 0xff, 0xfe, 0x7d]) }],
  ['no query', { body: '{"variables": {}}' }],
  ['a query that is not a string', { body: json(7) }],
  ['variables in a list', { body: json('{ viewer { name } }', { variables: [] }) }],
  ['variables as text', { body: json('{ viewer { name } }', { variables: '{}' }) }],
  ['extensions as text', { body: json('{ viewer { name } }', { extensions: 'x' }) }],
  ['an unknown parameter', { body: json('{ viewer { name } }', { id: 1 }) }],
  ['a parameter like a prototype', { body: '{"query":"{ viewer { name } }","__proto__":{"a":1}}' }],
  ['in chunks', { body: json('{ viewer { name } }'), isChunked: true }],
  ['a body that is too long', { body: json('{ viewer { name } }').padEnd(1_100_000) }],
  [
    'a body that is too long, in chunks',
    { body: json('{ viewer { name } }').padEnd(1_100_000), isChunked: true },
  ],
  ['a body of the maximum length', { body: json('{ viewer { name } }').padEnd(1_048_576) }],
  ['compressed', { body: gzipSync(json('{ viewer { name } }')), headers: { 'content-encoding': 'gzip' } }],
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
    [
      `an invalid document, accepting ${JSON.stringify(accept)}`,
      { body: json('{ viewer { name '), headers: { accept } },
    ],
  ]),
]

describe.each([
  ['the first time', 1],
  ['and with the document cached', 2],
])('the fast path and yoga answer a POST alike, %s:', (_, times) => {
  test('every kind of request', async () => {
    await using harness = await startGateway({ env: { ALLOWED_ORIGINS: 'https://app.example' } })
    for (let i = 0; i < 3; i++) await submit(harness, 'sim:seconds=30')
    for (const [title, request] of CASES) {
      const both: RawResponse[] = []
      for (let i = 0; i < times; i++) {
        both.length = 0
        for (const type of ['application/json', 'application/graphql+json'])
          both.push(await post(harness, type, request))
      }
      expect(both[0], title).toEqual(both[1])
      expect(both[0]!.status, title).toBeGreaterThanOrEqual(200)
    }
    expect(harness.log.filter(({ level }) => level === 'error')).toEqual([])
  })
})

describe('the JSON fast path', () => {
  const requestOf = (accept?: string) => ({ headers: accept === undefined ? {} : { accept } })
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

  /** An executor whose operation gives `result`. */
  function executorOf(kind: string, result: object) {
    const run = vi.fn(async (): Promise<OperationOutcome> => ({ kind: 'result', result }))
    return { run, prepare: vi.fn(async () => ({ kind, run }) as unknown as PreparedOperation) }
  }

  test('answers a plain request itself', async () => {
    const { prepare, run } = executorOf('query', { data: { a: 1 } })
    const answer = response()
    expect(await answerJson(requestOf(), answer, Buffer.from(json('{ a }')), prepare)).toEqual({
      kind: 'answered',
    })
    expect(answer.written).toEqual({ status: 200, text: '{"data":{"a":1}}' })
    expect(run).toHaveBeenCalledTimes(1)
  })

  test.each([
    ['a body that is not JSON', '{', undefined],
    ['another type of response', json('{ a }'), 'text/event-stream'],
  ])('hands %s over, and executes nothing', async (_, body, accept) => {
    const { prepare } = executorOf('query', { data: null })
    expect(await answerJson(requestOf(accept), response(), Buffer.from(body), prepare)).toEqual({
      kind: 'hand-over',
      outcome: null,
    })
    expect(prepare).not.toHaveBeenCalled()
  })

  test('hands a subscription over, and executes nothing', async () => {
    const { prepare, run } = executorOf('subscription', {})
    const handOver = { kind: 'hand-over', outcome: null }
    expect(await answerJson(requestOf(), response(), Buffer.from(json('{ a }')), prepare)).toEqual(handOver)
    expect(run).not.toHaveBeenCalled()
  })

  test('hands an invalid document over with its errors, parsed once', async () => {
    const invalid = { errors: [] }
    const prepare = vi.fn(async () => invalid)
    const handOver = await answerJson(requestOf(), response(), Buffer.from(json('{ b }')), prepare)
    expect(handOver).toMatchObject({ kind: 'hand-over', outcome: { kind: 'result', result: invalid } })
    expect(prepare).toHaveBeenCalledTimes(1)
  })

  test('hands a result with errors over, executed once', async () => {
    const result = { data: null, errors: [] }
    const { prepare, run } = executorOf('mutation', result)
    const answer = response()
    const handOver = await answerJson(requestOf(), answer, Buffer.from(json('mutation { a }')), prepare)
    expect(handOver).toMatchObject({ kind: 'hand-over', outcome: { kind: 'result', result } })
    expect(run).toHaveBeenCalledTimes(1)
    expect(answer.written.status).toBe(0)
  })
})

test('a mutation that gives data and an error is executed once', async () => {
  await using harness = await startGateway()
  const query = `mutation { submitVideo(input: { image: { url: "https://images.example/cat.png" }, prompt: "x" }) {
    ... on SubmitVideoPayload { prediction { retryOf { history(after: "x") { edges { cursor } } } history(after: "x") { edges { cursor } } } }
  } }`
  const response = await post(harness, 'application/json', { body: json(query) })
  expect(JSON.parse(response.body).errors).toHaveLength(1)
  const { data } = await harness.query('{ predictions { edges { cursor } } }')
  expect(data.predictions.edges).toHaveLength(1)
})

test('on either path an unexpected error is masked and logged once, and a rejection is counted once', async () => {
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
