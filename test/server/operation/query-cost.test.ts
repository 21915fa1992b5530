import { type GraphQLError, getIntrospectionQuery } from 'graphql'
import { describe, expect, test, vi } from 'vitest'
import { type Harness, startGateway, TRANSPORTS } from '../../support/gateway.ts'

const PREDICTION = `id model status input { imageUrl prompt negativePrompt duration enablePromptExpansion seed }
  outputs { url hasNsfwContent expiresAt } error { code message retryable } queuePosition cost { amount currency }
  tags metadata upstreamId createdAt submittedAt startedAt finishedAt updatedAt
  timings { queueMs inferenceMs totalMs }`
const PAGE = `query ($n: Int = 1) { predictions(first: $n) { edges { cursor } } }`
const SUBMIT =
  'submitVideo(input: { image: { url: "https://images.example/cat.png" }, prompt: "x" }) { __typename }'
const REAL_ACCOUNT_ENV = { WAVESPEED_API_KEY: 'sk-123', WAVESPEED_BASE_URL: 'http://127.0.0.1:9' }

const codeOf = async (harness: Harness, query: string, variables = {}) =>
  (await harness.query(query, variables)).errors?.[0]?.extensions?.code

describe('an operation', () => {
  test.each([
    [
      'the whole schema, as GraphiQL reads it',
      getIntrospectionQuery({ inputValueDeprecation: true, oneOf: true }),
    ],
    [
      'a full page with every field, also of the retried predictions',
      `{ predictions(first: 100) { edges { cursor node { ${PREDICTION} retryOf { ${PREDICTION} } } } } viewer { id } }`,
    ],
    [
      'a page with the beginning of each history',
      '{ predictions(first: 100) { edges { node { history(first: 5) { edges { node { type } } } } } } }',
    ],
  ])('that selects %s runs', async (_, query) => {
    await using harness = await startGateway()
    expect((await harness.query(query)).errors).toBeUndefined()
  })

  test('is limited by its variables each time, though its document is cached', async () => {
    await using harness = await startGateway()
    expect(await codeOf(harness, PAGE)).toBeUndefined()
    expect(await codeOf(harness, PAGE, { n: 1_000_000 })).toBe('QUERY_TOO_COMPLEX')
    expect(await codeOf(harness, PAGE, { n: 1 })).toBeUndefined()
    expect(await codeOf(harness, PAGE.replace('= 1', '= 1000000'))).toBe('QUERY_TOO_COMPLEX')
    const both = `{ predictions(first: 100) { edges { node { history(first: 100) { edges { cursor } } } } } }`
    const { errors } = await harness.query(both)
    expect(errors?.[0]?.message).toMatch(/^Cost: 20\d{3}, and at most 10000 are allowed\.$/)
  })

  test.each([-1, null, 2 ** 40, 'x', [1]])(
    'with `first: %j` gets a response without an unexpected error',
    async n => {
      await using harness = await startGateway()
      const { errors } = await harness.query(PAGE, { n })
      if (n !== null) expect(errors).toHaveLength(1)
      expect(harness.log.filter(({ level }) => level === 'error')).toEqual([])
    },
  )

  test('that costs too much executes no field, not even its first', async () => {
    await using harness = await startGateway({ env: { MAX_QUERY_COST: '100' } })
    const twice = `mutation { a: ${SUBMIT} b: ${SUBMIT} }`
    expect(await codeOf(harness, twice)).toBe('QUERY_TOO_COMPLEX')
    const { data } = await harness.query('{ viewer { usage { queued inFlight spentThisMonth { amount } } } }')
    expect(data.viewer.usage).toEqual({ queued: 0, inFlight: 0, spentThisMonth: { amount: 0 } })
    expect(await codeOf(harness, `mutation { a: ${SUBMIT} }`)).toBeUndefined()
  })

  test.each(TRANSPORTS)('that is a subscription over %s is limited by depth and cost', async transport => {
    await using harness = await startGateway({ env: { MAX_QUERY_DEPTH: '4' } })
    for (const query of [
      'subscription { predictionFeed { ... on PredictionEvent { prediction { retryOf { cost { amount } } } } } }',
      'subscription { predictionUpdated(id: "a") { history(first: 1000000) { edges { cursor } } } }',
    ]) {
      const { value } = await harness.subscribe(transport, query).next()
      expect(value?.errors?.[0]).toMatchObject({ extensions: { code: 'QUERY_TOO_COMPLEX' } })
    }
  })

  test.each([
    ['aliases', `{ ${Array.from({ length: 101 }, (_, i) => `a${i}: viewer { id }`).join(' ')} }`],
    ['directives', `{ viewer ${'@skip(if: false) '.repeat(101)} { id } }`],
    [
      'introspection',
      `{ __schema { ${'abcdefghijk'
        .split('')
        .map(a => `${a}: types { name }`)
        .join(' ')} } }`,
    ],
    [
      'introspection, nested',
      '{ __schema { types { fields { args { type { fields { args { type { ofType { fields { args { name } } } } } } } } } } } }',
    ],
    [
      'fragments that double',
      `{ prediction(id: "a") { ...f0 } } ${Array.from({ length: 30 }, (_, i) => `fragment f${i} on Prediction { retryOf { ...f${i + 1} } a: retryOf { ...f${i + 1} } }`).join(' ')} fragment f30 on Prediction { id }`,
    ],
    ['nodes', `{ ${'nodes(ids: ["a"]) { id } '.repeat(300)} }`],
    ['characters of an alias', `{ ${'a'.repeat(129)}: viewer { id } }`],
    ['characters of a fragment’s name', `{ ...${'a'.repeat(129)} }`],
    ['lines', `{ viewer ${'\n'.repeat(2001)} { id } }`],
    ['fields of one name', `{ viewer { ${'id '.repeat(201)} } }`],
    ['spreads', `{ ${'...f '.repeat(202)} } fragment f on Query { viewer { id } }`],
  ])('with too many %s is rejected with one error', async (_, query) => {
    await using harness = await startGateway()
    const { data, errors } = await harness.query(query)
    expect(data).toBeUndefined()
    expect(errors).toHaveLength(1)
    expect(harness.log.filter(({ level }) => level === 'error')).toEqual([])
  })

  test('with an invalid variable of a megabyte is rejected with a short error', async () => {
    await using harness = await startGateway()
    const unknownFields = Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`field${i}`, 1]))
    const result = await harness.query(
      'mutation ($input: SubmitVideoInput!) { submitVideo(input: $input) { __typename } }',
      { input: { prompt: 'x'.repeat(1_000_000), ...unknownFields } },
    )
    expect(result.errors).toHaveLength(50)
    expect(JSON.stringify(result).length).toBeLessThan(70_000)
  })

  test('with valid variables of a megabyte runs, whatever their names', async () => {
    await using harness = await startGateway()
    const metadata = { ['x'.repeat(400_000)]: 'y'.repeat(400_000), ['__proto__']: ['z'.repeat(100_000)] }
    const { data } = await harness.query(
      `mutation ($metadata: JSON, $url: URL!) { submitVideo(input: { image: { url: $url }, prompt: "x", metadata: $metadata }) {
        ... on InvalidInputError { issues { path } }
      } }`,
      { metadata, url: 'https://images.example/cat.png' },
    )
    expect(data.submitVideo.issues).toEqual([{ path: ['input', 'metadata'] }])
  })

  test('with many errors gets the first twenty, each with few locations', async () => {
    await using harness = await startGateway()
    const result = await harness.query(`{ ${Array.from({ length: 300 }, (_, i) => `x${i}`).join(' ')} }`)
    expect(result.errors).toHaveLength(21)
  })

  test('with too many values in its variables is rejected before they are coerced', async () => {
    await using harness = await startGateway()
    const ids = Array(10_001).fill('a')
    expect(await codeOf(harness, '{ __typename }', { ids })).toBe('BAD_ARGUMENT')
  })
})

describe('with a real account', () => {
  test('only __typename of the schema can be read', async () => {
    await using harness = await startGateway({ env: REAL_ACCOUNT_ENV })
    expect((await harness.query('{ __typename viewer { __typename } }')).errors).toBeUndefined()
    for (const query of ['{ __schema { types { name } } }', '{ __type(name: "App") { name } }'])
      expect(await codeOf(harness, query)).toBe('GRAPHQL_VALIDATION_FAILED')
    await using open = await startGateway({ env: { ...REAL_ACCOUNT_ENV, ALLOW_INTROSPECTION: '1' } })
    expect((await open.query('{ __schema { types { name } } }')).errors).toBeUndefined()
  })

  test.each([
    ['a field', '{ viewr { id } }', {}],
    ['a selection', '{ viewer }', {}],
    ['an argument', '{ predictions(frst: 1) { edges { cursor } } }', {}],
    ['a type', 'query ($f: PredictionFiltr) { __typename }', {}],
    ['an enum value', '{ predictions(filter: { statuses: [QUEUE] }) { edges { cursor } } }', {}],
    ['an input field', '{ predictions(filter: { tag: "a" }) { edges { cursor } } }', {}],
    [
      'a variable’s enum value',
      'query ($f: PredictionFilter) { predictions(filter: $f) { edges { cursor } } }',
      { f: { statuses: ['QUEUE'] } },
    ],
    [
      'a variable’s field',
      'query ($f: PredictionFilter) { predictions(filter: $f) { edges { cursor } } }',
      { f: { tag: 'a' } },
    ],
  ])('the error about %s that is unknown has no hint', async (_, query, variables) => {
    const errorMessages = async (env: Record<string, string>) => {
      await using harness = await startGateway({ env })
      const texts = []
      for (let i = 0; i < 2; i++) {
        const { errors } = await harness.query(query, variables)
        texts.push(errors!.map(({ message }: GraphQLError) => message).join())
      }
      return texts
    }
    for (const message of await errorMessages({})) expect(message).toContain('Did you mean')
    for (const message of await errorMessages(REAL_ACCOUNT_ENV)) expect(message).not.toContain('Did you mean')
  })
})

test('an operation reads the usage of its app once, however often it selects it', async () => {
  await using harness = await startGateway()
  const usage = vi.spyOn(harness.gateway.store, 'usage')
  const selections = Array.from({ length: 50 }, (_, i) => `a${i}: viewer { usage { queued inFlight } }`)
  const { data } = await harness.query(`{ ${selections.join(' ')} }`)
  expect(Object.keys(data)).toHaveLength(50)
  expect(usage).toHaveBeenCalledTimes(1)
})
