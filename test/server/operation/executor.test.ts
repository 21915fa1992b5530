import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { Services } from '../../../src/graphql/context.ts'
import { createExecutor, type Executor } from '../../../src/server/operation/executor.ts'
import type { GraphQLParams, OperationRequest } from '../../../src/server/operation/operation.ts'
import { openStore } from '../../../src/store/open-store.ts'
import type { Store } from '../../../src/store/store.ts'
import type { FanOut } from '../../../src/subscriptions/fan-out.ts'
import { startGateway } from '../../support/gateway.ts'
import { openRawWebSocket } from '../../support/raw-websocket.ts'
import { fullAccess, newApp } from '../../support/store.ts'
import { until } from '../../support/until.ts'

const SUBMIT = `mutation { submitVideo(input: { image: { url: "https://images.example/cat.png" }, prompt: "x" }) {
  __typename
} }`

let store: Store
const nextSlice = vi.fn(async () => {})
let executor: Executor
let operationRequest: (params: GraphQLParams, isClientGone?: boolean) => OperationRequest

beforeEach(async () => {
  store = await openStore('file::memory:', () => {})
  const app = await newApp(store)
  const caller = { ...fullAccess(app), credentialHash: '' }
  executor = createExecutor({
    services: {
      store,
      now: Date.now,
      countRejection() {},
      logNotice() {},
      nextSlice,
    } as unknown as Services,
    fanOut: {} as FanOut,
    authenticate: { isStillValid: async () => true },
    maxMessageBytes: 1000,
    limits: { maxQueryCost: 1000, maxQueryDepth: 10 },
    allowIntrospection: true,
    log: { error: vi.fn() },
  })
  // Frozen: a request is a value, which no part of the executor changes.
  operationRequest = (params, isClientGone = false) =>
    Object.freeze({
      caller: Object.freeze(caller),
      params: Object.freeze(params),
      isClientGone: () => isClientGone,
      openSink: () => ({
        writer: { isFull: () => false, whenDrained: async () => {} },
        heldBytes: 0,
        send: () => true,
      }),
      lastEventId: null,
      httpRequest: null,
    })
})
afterEach(() => store.close())

async function run(params: GraphQLParams, isClientGone = false) {
  const outcome = await executor.execute(operationRequest(params, isClientGone))
  return outcome.kind === 'result' ? outcome.result : outcome
}

test('a query whose client has disconnected reads nothing; a mutation is executed', async () => {
  const app = vi.spyOn(store, 'getApp')
  expect(await run({ query: '{ viewer { name } }' }, true)).toEqual({ data: null })
  expect(app).not.toHaveBeenCalled()
  await run({ query: SUBMIT }, true)
  expect(await store.countByState()).toMatchObject({ queued: 1 })
})

test('what may take over a millisecond waits for its turn', async () => {
  const slicesOf = async (params: GraphQLParams) => {
    nextSlice.mockClear()
    await run(params)
    return nextSlice.mock.calls.length
  }
  const viewer = '{ viewer { name } }'
  // Before it is parsed, and before it is validated.
  expect(await slicesOf({ query: viewer })).toBe(2)
  expect(await slicesOf({ query: viewer })).toBe(0)
  expect(await slicesOf({ query: '{ viewer' })).toBe(1)
  expect(await slicesOf({ query: viewer, variables: { ids: Array(600).fill('a') } })).toBe(1)
  expect(await slicesOf({ query: viewer, variables: { text: 'a'.repeat(100_000) } })).toBe(1)
  const page = 'query ($n: Int!) { predictions(first: $n) { edges { cursor } } }'
  await run({ query: page, variables: { n: 1 } })
  // The list itself is read in a turn.
  expect(await slicesOf({ query: page, variables: { n: 1 } })).toBe(1)
  expect(await slicesOf({ query: page, variables: { n: 100 } })).toBe(1)
  const ids = 'query ($n: Int!) { predictions(first: $n) { edges { node { id status } cursor } } }'
  await run({ query: ids, variables: { n: 1 } })
  // Before it is executed, and before the list is read.
  expect(await slicesOf({ query: ids, variables: { n: 100 } })).toBe(2)
})

test('a document is parsed once, and its operations are selected by name', async () => {
  const query =
    'query A { viewer { name } } mutation B { cancelPrediction(input: { id: "" }) { __typename } }'
  const kinds = []
  const documents = new Set()
  for (const operationName of ['A', 'B']) {
    const operation = await executor.prepare(operationRequest({ query, operationName }))
    if ('errors' in operation) throw operation.errors[0]
    kinds.push(operation.kind)
    documents.add(operation.document)
  }
  expect(kinds).toEqual(['query', 'mutation'])
  expect(documents.size).toBe(1)
  for (const operationName of ['C', '', null])
    expect(await executor.prepare(operationRequest({ query, operationName }))).toMatchObject({
      errors: [{ extensions: { code: 'OPERATION_RESOLUTION_FAILURE' } }],
    })
})

test.each([
  ['valid', (i: number) => `{ a${i}: __typename }`],
  ['with an unknown field', (i: number) => `{ a${i} }`],
  ['with a syntax error', (i: number) => `{ a${i} `],
])('thousands of documents %s leave little behind', async (_, documentOf) => {
  const pass = async (from: number) => {
    for (let i = from; i < from + 3000; i++)
      await executor.prepare(operationRequest({ query: documentOf(i) }))
    gc!({ type: 'major', execution: 'sync' })
    return process.memoryUsage().heapUsed
  }
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as NodeJS.GCFunction
  const before = await pass(0)
  // Without the limits each would keep 2.8 KB, 8 KB or 66 KB.
  expect((await pass(3000)) - before).toBeLessThan(3000 * 1024)
})

test('a cost is computed again only for variables that it depends on', async () => {
  const page =
    'query ($n: Int, $ids: [ID!]) { predictions(first: $n, filter: { ids: $ids }) { edges { cursor } } }'
  const one = 'query ($id: ID!) { node(id: $id) { id } }'
  const codes = []
  for (const params of [
    { query: page, variables: { n: 1 } },
    { query: page, variables: { n: 1000 } },
    { query: page, variables: { n: 1, ids: Array(1001).fill('x') } },
    { query: page, variables: { n: 2 } },
    { query: one, variables: { id: 'x' } },
    { query: one, variables: { id: 'y' } },
  ])
    codes.push((await run(params)) as { errors?: { extensions: { code: string } }[] })
  expect(codes.map(({ errors }) => errors?.[0]?.extensions.code)).toEqual([
    undefined,
    'QUERY_TOO_COMPLEX',
    'QUERY_TOO_COMPLEX',
    undefined,
    undefined,
    undefined,
  ])
})

test.each([
  ['of syntax', '{ viewer {'],
  ['of validation', '{ viewr }'],
  ['of length', `{ __typename } #${'x'.repeat(70_000)}`],
  ['of cost', '{ predictions(first: 100000) { edges { cursor } } }'],
])(
  'an error %s has its status over HTTP whichever transport met it first, and none over a WebSocket',
  async (_, query) => {
    await using harness = await startGateway()
    const { received, send, socket, closed } = await openRawWebSocket(harness)
    const ask = async (id: string) => {
      send({ id, type: 'subscribe', payload: { query } })
      await until(() => received.some(message => message.id === id))
      expect(JSON.stringify(received.find(message => message.id === id))).not.toMatch(/"http"|"status"/)
    }
    await ask('before')
    const accept = 'application/graphql-response+json'
    const headers = { authorization: `Bearer ${harness.key}`, 'content-type': 'application/json', accept }
    const answer = await harness.fetch('/graphql', {
      method: 'POST',
      headers,
      body: JSON.stringify({ query }),
    })
    expect(answer.status).toBe(400)
    expect(await answer.text()).not.toMatch(/"http"|"status"/)
    await ask('after')
    socket.close()
    await closed
  },
)
