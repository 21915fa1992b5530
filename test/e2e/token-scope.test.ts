/**
 * A token sees the union of its tags and ids, through every field of the schema. The selections are built from the
 * schema, and a new root field fails this test until it has a check here.
 */
import { describe, expect, test } from 'vitest'
import { fullScope } from '../../src/domain/access-scope.ts'
import type { Prediction } from '../../src/domain/prediction.ts'
import { encodeId } from '../../src/graphql/global-id.ts'
import { encodeListCursor } from '../../src/graphql/pagination.ts'
import { schema } from '../../src/graphql/schema.ts'
import { clocksFrom } from '../support/clocks.ts'
import { drain, type Harness, type Stream, startGateway, TRANSPORTS, take } from '../support/gateway.ts'
import { selectionOf } from '../support/selection.ts'
import { addPrediction, MINUTE, newApp, PRICE, T } from '../support/store.ts'
import { mintToken, REJECT_SUBMITS } from '../support/token.ts'
import { until } from '../support/until.ts'

const UNKNOWN = encodeId('Prediction', '018f0000-0000-7000-8000-000000000000')
const PREDICTION_SELECTION = selectionOf('Prediction')
const FEED = `subscription ($after: String, $filter: PredictionFilter) {
  predictionFeed(after: $after, filter: $filter) { ${selectionOf('PredictionFeedItem')} } }`
const UPDATED = `subscription ($id: ID!) { predictionUpdated(id: $id) { ${PREDICTION_SELECTION} } }`

interface TestToken {
  name: string
  bearer: string
  /** The names of the predictions that it must see, independent of the gateway's code. */
  visibleNames: Set<string>
}

/** Predictions of the running test by name. The name is in the prompt and in the metadata. */
const rows = new Map<string, Prediction>()
let tokens: TestToken[] = []
let harness: Harness
/** The feed's cursor before all predictions. */
let startCursor: string
/** Queue positions by name, as the app's own key reads them. */
const positions = new Map<string, number>()

const idOf = (name: string) => encodeId('Prediction', rows.get(name)!.id)
const TAGS: [name: string, tags: string[], retryOf?: string][] = [
  ['none', []],
  ['a', ['a']],
  ['b', ['b']],
  ['ab', ['a', 'b']],
  ['c', ['c']],
  ['a of b', ['a'], 'b'],
  ['b of a', ['b'], 'a'],
  ['c of c', ['c'], 'c'],
  ['A', ['A', 'a ', 'aa', '["a"]']],
]

async function open(): Promise<AsyncDisposable> {
  rows.clear()
  tokens = []
  harness = await startGateway({
    env: { MAX_QUERY_COST: '1000000' },
    overrides: { ...REJECT_SUBMITS, clocks: clocksFrom(() => T + MINUTE) },
  })
  const { store } = harness.gateway
  const app = (await store.findAppByName('test'))!.id
  const other = await newApp(store)
  const make = async (name: string, tags: string[], retryOf?: string, appId = app) => {
    const input = {
      imageUrl: 'https://images.example/cat.png',
      prompt: `<${name}>`,
      negativePrompt: null,
      duration: 5,
      enablePromptExpansion: false,
      seed: -1,
    }
    const of = retryOf === undefined ? null : rows.get(retryOf)!.id
    rows.set(
      name,
      await addPrediction(store, appId, T + rows.size, { input, tags, metadata: `<${name}>`, retryOf: of }),
    )
  }
  startCursor = (await harness.query('{ feedCursor }')).data.feedCursor
  for (const [name, tags, retryOf] of TAGS) await make(name, tags, retryOf)
  await make('theirs', ['a', 'b', 'c'], undefined, other)
  // The job in flight is queued again, once its submit was rejected.
  await until(
    async () => (await store.submitCircuit()) !== null && (await store.countByState()).submitting === 0,
  )

  const names = TAGS.map(([name]) => name)
  const tagged = (...some: string[]) =>
    TAGS.filter(([, tags]) => tags.some(tag => some.includes(tag))).map(([name]) => name)
  const addToken = async (name: string, visibleNames: string[], input: object) =>
    void tokens.push({ name, visibleNames: new Set(visibleNames), bearer: await mintToken(harness, input) })
  await addToken('[a]', tagged('a'), { tags: ['a'] })
  await addToken('[b]', tagged('b'), { tags: ['b'] })
  await addToken('[a, b]', tagged('a', 'b'), { tags: ['a', 'b'] })
  await addToken('ids', ['none', 'c'], { predictionIds: [idOf('none'), idOf('c'), idOf('theirs'), UNKNOWN] })
  await addToken('tags and ids', [...tagged('a'), 'c'], {
    tags: ['a'],
    predictionIds: [idOf('c'), idOf('theirs')],
  })
  await addToken('nothing', [], { predictionIds: [UNKNOWN] })
  await addToken('everything', names, {})
  tokens.push({ name: 'the key', visibleNames: new Set(names), bearer: harness.key })
  const { data } = await harness.query(
    'query ($ids: [ID!]!) { nodes(ids: $ids) { ... on Prediction { queuePosition } } }',
    {
      ids: names.map(idOf),
    },
  )
  for (const [i, name] of names.entries()) positions.set(name, data.nodes[i].queuePosition)
  expect(new Set(positions.values()).size).toBe(names.length)
  return harness
}

/** The names of the predictions of which the answer contains anything. */
function namesIn(answer: unknown): Set<string> {
  const text = JSON.stringify(answer)
  const found = new Set<string>()
  for (const [name, { id }] of rows)
    if ([`<${name}>`, id, encodeId('Prediction', id)].some(marker => text.includes(marker))) found.add(name)
  return found
}

const ask = async (document: string, variables: object, { bearer }: TestToken) => {
  const { data, errors } = await harness.query(document, variables, bearer)
  expect(errors).toBeUndefined()
  return data
}
const forEachName = <Value>(record: (name: string) => Value) => [...rows.keys()].map(name => record(name))
const sorted = (names: Iterable<string>) => [...names].sort()
const listOf = (
  selection: string,
) => `query ($first: Int, $after: String, $last: Int, $before: String, $filter: PredictionFilter) {
  predictions(first: $first, after: $after, last: $last, before: $before, filter: $filter) {
    edges { cursor node { ${selection} } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }`
const LIST = listOf(PREDICTION_SELECTION)
const PAGE = listOf('metadata')
interface Listed {
  edges: { node: { metadata: string } }[]
  pageInfo: { hasNextPage: boolean; hasPreviousPage: boolean; startCursor: string; endCursor: string }
}
const page = async (variables: object, token: TestToken): Promise<Listed> =>
  (await ask(PAGE, variables, token)).predictions
const listedNames = ({ edges }: Listed) => edges.map(({ node }) => nameOf(node))

/** Filters, each with the predicate of the names that match it. */
const FILTERS = () =>
  [
    [{}, () => true],
    [{ tags: ['a'] }, (name: string) => rows.get(name)!.tags.includes('a')],
    [{ tags: ['b', 'c'] }, (name: string) => rows.get(name)!.tags.some(tag => 'bc'.includes(tag))],
    [{ tags: [] }, () => false],
    [{ ids: forEachName(idOf) }, () => true],
    [{ ids: [idOf('b'), idOf('c'), UNKNOWN] }, (name: string) => ['b', 'c'].includes(name)],
    [{ statuses: ['QUEUED', 'CANCELED'] }, () => true],
    [{ statuses: ['FAILED'] }, () => false],
    [
      { models: ['WAN_2_2_I2V_PLUS_1080P'], tags: ['a'] },
      (name: string) => rows.get(name)!.tags.includes('a'),
    ],
    [{ createdAfter: new Date(T + 1).toISOString() }, (name: string) => rows.get(name)!.createdAt > T + 1],
    [{ createdBefore: new Date(T + 4).toISOString() }, (name: string) => rows.get(name)!.createdAt < T + 4],
  ] as [object, (name: string) => boolean][]

const newestFirst = (names: Iterable<string>) =>
  [...names].sort((x, y) => rows.get(y)!.createdAt - rows.get(x)!.createdAt)

/** Root field, and its check: it queries the field in every form and asserts what the token may see. */
const QUERIES: Record<string, (token: TestToken) => Promise<void>> = {
  async node(token) {
    for (const name of rows.keys()) {
      const { node } = await ask(
        `query ($id: ID!) { node(id: $id) { ... on Prediction { ${PREDICTION_SELECTION} } } }`,
        { id: idOf(name) },
        token,
      )
      expectOnly(name, node, token)
    }
  },

  async nodes(token) {
    const { nodes } = await ask(
      `query ($ids: [ID!]!) { nodes(ids: $ids) { ... on Prediction { ${PREDICTION_SELECTION} } } }`,
      { ids: forEachName(idOf) },
      token,
    )
    for (const [i, name] of [...rows.keys()].entries()) expectOnly(name, nodes[i], token)
  },

  async prediction(token) {
    for (const name of rows.keys()) {
      const { prediction } = await ask(
        `query ($id: ID!) { prediction(id: $id) { ${PREDICTION_SELECTION} } }`,
        { id: idOf(name) },
        token,
      )
      expectOnly(name, prediction, token)
    }
  },

  async predictions(token) {
    for (const [i, [filter, passes]] of FILTERS().entries()) {
      const expected = newestFirst(token.visibleNames).filter(passes)
      const full = await ask(LIST, { first: 100, filter }, token)
      const names = full.predictions.edges.map(({ node }: { node: object }) => nameOf(node))
      expect([filter, names]).toEqual([filter, expected])
      expect(full.predictions.pageInfo).toMatchObject({ hasNextPage: false, hasPreviousPage: false })
      expectNothingElse(full, token)
      // Without a filter, and with one.
      for (const size of i < 2 ? [2] : []) {
        const forward: string[] = []
        for (let at: Listed | null = null; at?.pageInfo.hasNextPage !== false; ) {
          at = await page({ first: size, after: at?.pageInfo.endCursor, filter }, token)
          forward.push(...listedNames(at))
          // Invisible predictions are not even counted.
          expect(at.pageInfo.hasNextPage).toBe(forward.length < expected.length)
        }
        expect(forward).toEqual(expected)
        const backward: string[] = []
        for (let at: Listed | null = null; at?.pageInfo.hasPreviousPage !== false; ) {
          at = await page({ last: size, before: at?.pageInfo.startCursor, filter }, token)
          backward.unshift(...listedNames(at))
          expect(at.pageInfo.hasPreviousPage).toBe(backward.length < expected.length)
        }
        expect(backward).toEqual(expected)
      }
    }
    // A cursor at an invisible prediction works like any other.
    for (const row of rows.values()) {
      const older = listedNames(await page({ first: 100, after: encodeListCursor(row) }, token))
      expect(older).toEqual(
        newestFirst(token.visibleNames).filter(name => rows.get(name)!.createdAt < row.createdAt),
      )
    }
  },

  async feedCursor(token) {
    const [one, two] = [await ask('{ feedCursor }', {}, token), await ask('{ feedCursor }', {}, token)]
    expect(one.feedCursor).toMatch(/^[\w-]{22}$/)
    // The cursor differs each time, so it does not reveal whether other apps are busy.
    expect(one).not.toEqual(two)
  },

  async models(token) {
    expectNothing(await ask(`{ models { ${selectionOf('Model')} } }`, {}, token))
  },

  async viewer(token) {
    const { viewer } = await ask(`{ viewer { ${selectionOf('App')} } }`, {}, token)
    expectNothing(viewer)
    expect(viewer.usage).toMatchObject({ inFlight: 0, queued: token.visibleNames.size })
    expect(viewer.usage.spentThisMonth.amount).toBeCloseTo((token.visibleNames.size * PRICE) / 1_000_000, 9)
  },
}

const nameOf = (node: object) => (node as { metadata: string }).metadata.slice(1, -1)
const expectNothing = (answer: unknown) => expect(namesIn(answer)).toEqual(new Set())
const expectNothingElse = (answer: unknown, { name, visibleNames }: TestToken) =>
  expect([name, sorted(namesIn(answer).difference(visibleNames))]).toEqual([name, []])

/**
 * Asserts that the node is the prediction with all visible ones behind it, or null, and reveals no invisible one.
 */
function expectOnly(
  name: string,
  node: { queuePosition: number; retryOf: object | null; history: { edges: unknown[] } } | null,
  token: TestToken,
) {
  const retryOf = TAGS.find(row => row[0] === name)?.[2]
  if (!token.visibleNames.has(name)) return expect([token.name, name, node]).toEqual([token.name, name, null])
  const seen = retryOf !== undefined && token.visibleNames.has(retryOf) ? [name, retryOf] : [name]
  expect([token.name, sorted(namesIn(node))]).toEqual([token.name, sorted(seen)])
  expect(node!.retryOf === null).toBe(seen.length === 1)
  expect(node!.history.edges).toHaveLength(1)
  // The position is the one that the app itself sees.
  expect([name, node!.queuePosition]).toEqual([name, positions.get(name)])
}

describe('queued predictions', () => {
  test('every root field has a check', () => {
    const fieldsOf = (type: { getFields(): object } | null | undefined) =>
      sorted(Object.keys(type!.getFields()))
    expect(fieldsOf(schema.getQueryType())).toEqual(sorted(Object.keys(QUERIES)))
    expect(fieldsOf(schema.getSubscriptionType())).toEqual(['predictionFeed', 'predictionUpdated'])
    expect(fieldsOf(schema.getMutationType())).toEqual(sorted(MUTATIONS))
    for (const field of ['history', 'retryOf', 'queuePosition', 'metadata', 'prompt'])
      expect(PREDICTION_SELECTION).toContain(field)
  })

  test('each field returns to a token what it may see, and nothing else', async () => {
    await using _ = await open()
    for (const field of Object.keys(QUERIES)) for (const token of tokens) await QUERIES[field]!(token)
  })

  test('a token with two tags sees exactly what two tokens with one tag each see together', async () => {
    await using _ = await open()
    const all = async (name: string) => {
      const token = tokens.find(each => each.name === name)!
      return namesIn(await ask(LIST, { first: 100 }, token))
    }
    expect(await all('[a, b]')).toEqual((await all('[a]')).union(await all('[b]')))
  })

  test.each(TRANSPORTS)(
    'predictionUpdated over %s delivers what a token may see, else NOT_FOUND',
    async transport => {
      await using _ = await open()
      for (const token of tokens) {
        for (const name of rows.keys()) {
          const updates = harness.subscribe(transport, UPDATED, { id: idOf(name) }, token.bearer)
          if (token.visibleNames.has(name)) {
            const [first] = await take(updates, 1)
            expectOnly(name, first?.data.predictionUpdated, token)
            await updates.return?.()
          } else expect((await drain(updates))[0]?.errors?.[0]?.extensions).toEqual({ code: 'NOT_FOUND' })
        }
      }
    },
  )
})

const MUTATIONS = ['submitVideo', 'cancelPrediction', 'retryPrediction', 'createAccessToken', 'uploadImage']

describe('an invisible prediction', () => {
  /** Every answer to an id, as bytes. */
  async function answers(id: string, { bearer }: TestToken): Promise<string[]> {
    const variables = { id, ids: [id, id] }
    const documents = [
      `query ($id: ID!) { node(id: $id) { __typename id } }`,
      `query ($ids: [ID!]!) { nodes(ids: $ids) { __typename id } }`,
      `query ($id: ID!) { prediction(id: $id) { ${PREDICTION_SELECTION} } }`,
      `query ($id: ID!) { predictions(filter: {ids: [$id]}) { edges { node { id } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }`,
      ...['cancelPrediction', 'retryPrediction'].map(
        field =>
          `mutation ($id: ID!) { ${field}(input: {id: $id}) { ${selectionOf(`${field[0]!.toUpperCase()}${field.slice(1)}Result`)} } }`,
      ),
      `mutation ($id: ID!) { retryPrediction(input: {id: $id, idempotencyKey: "k"}) { __typename ... on Error { code message } } }`,
    ]
    const responses = []
    for (const query of documents) {
      const response = await harness.fetch('/graphql', {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: `Bearer ${bearer}` },
        body: JSON.stringify({ query, variables }),
      })
      responses.push(`${response.status} ${await response.text()}`)
    }
    for (const transport of TRANSPORTS)
      responses.push(JSON.stringify(await drain(harness.subscribe(transport, UPDATED, { id }, bearer))))
    return responses
  }

  test('looks like a missing one, to the byte, and does not change', async () => {
    await using _ = await open()
    for (const token of tokens) {
      const never = await answers(UNKNOWN, token)
      expect(never.at(-1)).toContain('NOT_FOUND')
      for (const name of rows.keys())
        if (!token.visibleNames.has(name))
          expect([name, await answers(idOf(name), token)]).toEqual([name, never])
    }
    const { store } = harness.gateway
    for (const { id, appId } of rows.values())
      expect((await store.get(fullScope(appId), id))?.status).toBe('QUEUED')
  })

  test('leaves no trace in introspection or in an error', async () => {
    await using _ = await open()
    const introspection = '{ __schema { types { name fields { name args { name } } } } }'
    const first = JSON.stringify(await harness.query(introspection))
    for (const { bearer } of tokens)
      expect(JSON.stringify(await harness.query(introspection, {}, bearer))).toBe(first)
    for (const token of tokens)
      for (const after of ['garbage', encodeListCursor(rows.get('c')!), startCursor]) {
        const history = `query ($after: String, $id: ID!) { prediction(id: $id) { history(after: $after) { edges { cursor } } } }`
        const list = `query ($after: String) { predictions(after: $after) { edges { cursor } } }`
        const answers = async (id: string) =>
          Promise.all([history, list].map(query => harness.query(query, { after, id }, token.bearer)))
        if (!token.visibleNames.has('c')) expect(await answers(idOf('c'))).toEqual(await answers(UNKNOWN))
      }
  })
})

describe('events', () => {
  test('the feed delivers to each token what it may see: live, from a cursor, over both transports, with every filter', async () => {
    await using _ = await open()
    interface OpenFeed {
      token: TestToken
      mode: string
      filter: object
      passes: (name: string) => boolean
      feed: Stream
      received: unknown[]
    }
    const filters = FILTERS().filter(([filter]) => !('statuses' in filter) || 'CANCELED' in filter)
    const { store } = harness.gateway
    const openFeeds: OpenFeed[] = []
    const subscribe = (
      token: TestToken,
      mode: string,
      after: string | null,
      [filter, passes]: (typeof filters)[number],
      transport = TRANSPORTS[0] as (typeof TRANSPORTS)[number],
    ) =>
      openFeeds.push({
        token,
        mode,
        filter,
        passes,
        feed: harness.subscribe(transport, FEED, { after, filter }, token.bearer),
        received: [],
      })
    for (const token of tokens)
      for (const transport of TRANSPORTS)
        for (const filter of filters) {
          const isFirst = filter === filters[0] || filter === filters[1]
          if (transport === 'SSE' && !isFirst) continue
          if (isFirst) subscribe(token, 'live', null, filter, transport)
          subscribe(token, 'replayed', startCursor, filter, transport)
        }
    const isCaughtUp = (item: { __typename: string }) => item.__typename === 'FeedCaughtUp'
    const next = async (openFeed: OpenFeed) => {
      const [result] = await take(openFeed.feed, 1)
      expect(result?.errors).toBeUndefined()
      return result!.data.predictionFeed
    }
    /** Receives everything from before the subscription. */
    for (const openFeed of openFeeds)
      for (let item = await next(openFeed); !isCaughtUp(item); item = await next(openFeed))
        openFeed.received.push(item)

    // The second change would show a surplus event of the first one.
    for (const cost of [0, 5])
      for (const { id } of rows.values())
        await store.change(id, () => ({ status: 'CANCELED', cost }), T + MINUTE)

    const names = (items: unknown[]) =>
      items.map(item => {
        const { prediction, type } = item as { type: string; prediction: object }
        return `${type} ${nameOf(prediction)}`
      })
    for (const openFeed of openFeeds) {
      const { token, mode, filter, passes, received: items } = openFeed
      const seen = [...rows.keys()].filter(name => token.visibleNames.has(name) && passes(name))
      const before = seen.map(name => `QUEUED ${name}`)
      const after = seen.map(name => `STATUS_CHANGED ${name}`)
      const expected = [...(mode === 'live' ? [] : before), ...after, ...after]
      while (items.length < expected.length) items.push(await next(openFeed))
      expect([token.name, mode, filter, names(items)]).toEqual([token.name, mode, filter, expected])
      expectNothingElse(items, token)
    }
    for (const { feed } of openFeeds) await feed.return?.()
  })

  test('Last-Event-ID and `after` of an invisible event resume after it, and reveal nothing of it', async () => {
    await using _ = await open()
    const feed = harness.subscribe('SSE', FEED, { after: startCursor })
    const cursors = (await take(feed, rows.size - 1)).map(({ data }) => data.predictionFeed.cursor as string)
    await feed.return?.()
    for (const token of tokens)
      for (const [i, cursor] of cursors.entries()) {
        const seen = TAGS.slice(i + 1)
          .map(([name]) => name)
          .filter(name => token.visibleNames.has(name))
        const response = await harness.fetch('/graphql', {
          method: 'POST',
          headers: {
            'content-type': 'application/json',
            accept: 'text/event-stream',
            authorization: `Bearer ${token.bearer}`,
            'last-event-id': cursor,
          },
          body: JSON.stringify({
            query: FEED,
            variables: { after: startCursor, filter: { statuses: ['QUEUED'] } },
          }),
        })
        let text = ''
        for await (const chunk of response.body!) {
          text += Buffer.from(chunk)
          if (text.includes('"FeedCaughtUp"')) break
        }
        expect([...text.matchAll(/"metadata":"<([^>]*)>"/g)].length).toBeGreaterThanOrEqual(seen.length)
        expect([token.name, sorted(namesIn(text).difference(token.visibleNames))]).toEqual([token.name, []])
        expect(seen.every(name => text.includes(`<${name}>`))).toBe(true)
        expect(text).not.toContain('FeedGap')
      }
  })
})
