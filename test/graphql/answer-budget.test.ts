import { describe, expect, test } from 'vitest'
import { AnswerBudget } from '../../src/graphql/answer-budget.ts'
import { encodeId } from '../../src/graphql/global-id.ts'
import { type Harness, startGateway } from '../support/gateway.ts'
import { draft, INPUT, T, times } from '../support/store.ts'
import { type Connect, TRANSPORT_CLIENTS } from '../support/transports.ts'

const ALIASES = times(90, i => `a${i}: prompt`).join(' ')
const LONG_TEXT = '漢'.repeat(5000)

/** A gateway with a hundred predictions at their longest, and their ids. */
async function openFilled() {
  const harness = await startGateway()
  const { store } = harness.gateway
  const app = (await store.findAppByName('test'))!.id
  const longest = draft(app, {
    input: {
      ...INPUT,
      imageUrl: `https://images.example/${'a'.repeat(4000)}`,
      prompt: LONG_TEXT,
      negativePrompt: LONG_TEXT,
    },
    tags: times(10, i => `${i}`.padEnd(64, '漢')),
    metadata: { note: 'a'.repeat(4000) },
  })
  const ids: string[] = []
  for (let i = 0; i < 100; i++) {
    const creation = await store.create(longest, null, T + i)
    if (creation.kind === 'refused') throw new Error('refused')
    ids.push(encodeId('Prediction', creation.prediction.id))
  }
  return { harness, ids, [Symbol.asyncDispose]: harness[Symbol.asyncDispose] }
}

async function answersOf(
  harness: Harness,
  connect: Connect,
  query: string,
  variables = {},
): Promise<string[]> {
  await using client = await connect(harness, harness.key)
  const exchange = await client.send({ query, variables })
  await exchange.ended
  return exchange.received.messages
}

describe.each(TRANSPORT_CLIENTS)('over %s', (name, connect) => {
  test('an answer above its byte budget is one error without data', async () => {
    await using f = await openFilled()
    const query = `query ($ids: [ID!]!) { nodes(ids: $ids) { ... on Prediction { input { ${ALIASES} } } } }`
    const messages = await answersOf(f.harness, connect, query, { ids: times(100, () => f.ids[0]!) })
    const text = messages.join('')
    expect(text).toContain('QUERY_TOO_COMPLEX')
    expect(text).not.toContain('"data"')
    expect(text.length).toBeLessThan(1000)
  })

  test.skipIf(name === 'HTTP')('a message above its byte budget is one error without data', async () => {
    await using harness = await startGateway()
    const { store } = harness.gateway
    const app = (await store.findAppByName('test'))!.id
    const creation = await store.create(
      draft(app, { input: { ...INPUT, prompt: '🎥'.repeat(5000) } }),
      null,
      T,
    )
    if (creation.kind === 'refused') throw new Error('refused')
    await using client = await connect(harness, harness.key)
    const exchange = await client.send({
      query: `subscription ($id: ID!) { predictionUpdated(id: $id) {
        input { ...prompts } history(first: 1) { edges { node { prediction { input { ...prompts } } } } }
      } } fragment prompts on PredictionInput { ${ALIASES} }`,
      variables: { id: encodeId('Prediction', creation.prediction.id) },
    })
    await expect.poll(() => exchange.received.messages.length).toBeGreaterThan(0)
    await exchange.end()
    expect(exchange.received.messages[0]).toContain('QUERY_TOO_COMPLEX')
    expect(exchange.received.messages[0]!.length).toBeLessThan(1000)
  })
})

test('a page of 100 predictions with every field at its longest is served', async () => {
  await using f = await openFilled()
  const { data, errors } = await f.harness.query(`{ predictions(first: 100) { edges { cursor node {
    id model status input { imageUrl prompt negativePrompt duration enablePromptExpansion seed }
    outputs { url hasNsfwContent expiresAt } error { code message retryable } queuePosition
    cost { amount currency } tags metadata upstreamId createdAt submittedAt startedAt finishedAt updatedAt
    timings { queueMs inferenceMs totalMs } } } } }`)
  expect(errors).toBeUndefined()
  expect(data.predictions.edges).toHaveLength(100)
  expect(Buffer.byteLength(JSON.stringify(data))).toBeGreaterThan(3_500_000)
})

test('an id that is repeated is read once, and answered at each of its places', async () => {
  await using f = await openFilled()
  const { data } = await f.harness.query('query ($ids: [ID!]!) { nodes(ids: $ids) { id } }', {
    ids: [f.ids[0], f.ids[1], f.ids[0]],
  })
  expect(data.nodes.map((node: { id: string }) => node.id)).toEqual([f.ids[0], f.ids[1], f.ids[0]])
})

describe('a budget', () => {
  test('counts the bytes of a large answer as they are in JSON', () => {
    const budget = new AnswerBudget(3 * 1024 * 1024)
    budget.count(1024 * 1024)
    for (const text of ['漢"\n', '\u0001'.repeat(100), '🎥']) {
      const before = budget.bytes
      budget.countValue(text)
      expect(budget.bytes - before).toBe(Buffer.byteLength(JSON.stringify(text)))
    }
    expect(budget.error).toBeNull()
  })

  test('throws one error from where it is exceeded', () => {
    const budget = new AnswerBudget(100)
    budget.countValue(['a'.repeat(50), { key: 'a'.repeat(30) }])
    expect(() => budget.countValue('a'.repeat(50))).toThrow('Bytes of the answer: over 100')
    expect(() => budget.count(0)).toThrow(budget.error!)
  })
})
