import { expect, test } from 'vitest'
import type { AppId } from '../../src/domain/prediction.ts'
import { decodeId, encodeId } from '../../src/graphql/global-id.ts'
import { startGateway, TRANSPORTS, take } from '../support/gateway.ts'
import { selectionOf } from '../support/selection.ts'
import { addPrediction } from '../support/store.ts'
import { mintToken, REJECT_SUBMITS } from '../support/token.ts'

const INPUT = { image: { url: 'https://images.example/cat.png' }, prompt: 'x' }
const DOCUMENTS = {
  submit: ['submitVideo', 'SubmitVideo'],
  retry: ['retryPrediction', 'RetryPrediction'],
  cancel: ['cancelPrediction', 'CancelPrediction'],
} as const
const LIST = '{ predictions(first: 100) { edges { node { id } } } }'

async function open() {
  const harness = await startGateway({ overrides: REJECT_SUBMITS })
  const { store } = harness.gateway
  const app = (await store.findAppByName('test'))!.id
  /** Executes the mutation with every field of its result. */
  const ask = async (mutation: keyof typeof DOCUMENTS, input: object, bearer?: string) => {
    const [field, noun] = DOCUMENTS[mutation]
    const document = `mutation ($input: ${noun}Input!) { answer: ${field}(input: $input) { ${selectionOf(`${noun}Result`)} } }`
    const { data, errors } = await harness.query(document, { input }, bearer)
    expect(errors).toBeUndefined()
    return data.answer
  }
  return {
    harness,
    store,
    app,
    mint: (input: object) => mintToken(harness, input),
    submit: (input: object = {}, bearer?: string) => ask('submit', { ...INPUT, ...input }, bearer),
    retry: (input: object, bearer?: string) => ask('retry', input, bearer),
    cancel: (id: string, bearer?: string) => ask('cancel', { id }, bearer),
    async list(bearer?: string): Promise<string[]> {
      const { data } = await harness.query(LIST, {}, bearer)
      return data.predictions.edges.map(({ node }: { node: { id: string } }) => node.id)
    },
    async add(tags: string[], retryOf: string | null = null, appId: AppId = app): Promise<string> {
      const of = retryOf === null ? null : decodeId(retryOf).id
      return encodeId('Prediction', (await addPrediction(store, appId, Date.now(), { tags, retryOf: of })).id)
    },
    [Symbol.asyncDispose]: () => harness[Symbol.asyncDispose](),
  }
}

test('an idempotency key is unique within one restriction, and reveals nothing to another', async () => {
  await using world = await open()
  const bearers = {
    a: await world.mint({ tags: ['a'] }),
    'a again': await world.mint({ tags: ['a'], maxSubmits: 7 }),
    b: await world.mint({ tags: ['b'] }),
    ab: await world.mint({ tags: ['a', 'b'] }),
    ba: await world.mint({ tags: ['b', 'a', 'b'] }),
    ids: await world.mint({ predictionIds: [encodeId('Prediction', 'a')] }),
    all: await world.mint({}),
    key: world.harness.key,
  }
  const names = Object.keys(bearers) as (keyof typeof bearers)[]
  // Every token sends the same request under one key.
  const made = new Map<string, string>()
  for (const name of names) {
    const answer = await world.submit({ idempotencyKey: 'k' }, bearers[name])
    expect(answer.__typename).toBe('SubmitVideoPayload')
    made.set(name, answer.prediction.id)
  }
  const same = (x: string, y: string) => made.get(x) === made.get(y)
  expect([same('a', 'a again'), same('ab', 'ba'), same('all', 'key')]).toEqual([true, true, true])
  expect(new Set(made.values()).size).toBe(5)

  for (const name of names) {
    const conflict = await world.submit({ idempotencyKey: 'k', prompt: 'y' }, bearers[name])
    expect([name, conflict.code, conflict.prediction.id]).toEqual([
      name,
      'IDEMPOTENCY_CONFLICT',
      made.get(name),
    ])
    // retryPrediction shares the keys of submitVideo within the restriction.
    const retried = await world.retry({ id: made.get(name), idempotencyKey: 'k' }, bearers[name])
    expect([name, retried.code, retried.prediction.id]).toEqual([
      name,
      'IDEMPOTENCY_CONFLICT',
      made.get(name),
    ])
  }
  // A key that another restriction has used is free, and the answer has the usual form.
  await world.submit({ idempotencyKey: 'secret' }, bearers.a)
  await world.submit({ idempotencyKey: 'secret' })
  expect((await world.submit({ idempotencyKey: 'secret', prompt: 'guess' }, bearers.b)).__typename).toBe(
    'SubmitVideoPayload',
  )
})

test('a token’s prediction is visible to the app’s key and to tokens with the same restriction only', async () => {
  await using world = await open()
  const ids = [encodeId('Prediction', '018f0000-0000-7000-8000-000000000000')]
  const token = await world.mint({ predictionIds: ids })
  const [same, other, all] = [
    await world.mint({ predictionIds: ids }),
    await world.mint({ predictionIds: ids, tags: ['x'] }),
    await world.mint({}),
  ]
  const streams = TRANSPORTS.map(transport =>
    world.harness.subscribe(
      transport,
      'subscription { predictionFeed { ... on PredictionEvent { prediction { id } } } }',
      {},
      same,
    ),
  )
  for (const stream of streams) await take(stream, 1)
  await world.submit({}, other)
  const { prediction } = await world.submit({}, token)
  expect(prediction.tags).toEqual([])
  for (const stream of streams) {
    const [event] = await take(stream, 1)
    expect(event?.data.predictionFeed.prediction.id).toBe(prediction.id)
    await stream.return?.()
  }
  for (const bearer of [token, same]) expect(await world.list(bearer)).toEqual([prediction.id])
  expect(await world.list(other)).not.toContain(prediction.id)
  for (const bearer of [all, world.harness.key]) {
    expect(await world.list(bearer)).toContain(prediction.id)
    expect(await world.list(bearer)).toHaveLength(2)
  }
  const mine = await world.submit({ tags: ['x'] })
  expect(await world.list(other)).toContain(mine.prediction.id)
  expect(await world.list(token)).not.toContain(mine.prediction.id)
  expect((await world.cancel(mine.prediction.id, token)).code).toBe('NOT_FOUND')
  expect((await world.cancel(prediction.id, same)).prediction.status).toBe('CANCELED')
})

test('a token’s prediction carries the token’s tags beside the given ones, each once, ten at most', async () => {
  await using world = await open()
  const token = await world.mint({ tags: ['a', 'b'] })
  const tagsOf = async (tags: string[] | null, bearer = token) => {
    const answer = await world.submit({ tags }, bearer)
    return answer.prediction?.tags ?? answer.issues
  }
  const more = (count: number) => Array.from({ length: count }, (_, i) => `t${i}`)
  expect(await tagsOf(null)).toEqual(['a', 'b'])
  expect(await tagsOf([])).toEqual(['a', 'b'])
  expect(await tagsOf(['b', 'c', 'c', 'a'])).toEqual(['a', 'b', 'c'])
  expect(await tagsOf(more(8))).toEqual(['a', 'b', ...more(8)])
  expect(await tagsOf(['a', 'b', ...more(8)])).toHaveLength(10)
  expect(await tagsOf(more(9))).toMatchObject([{ path: ['input', 'tags'] }])
  expect(await tagsOf(more(11))).toMatchObject([{ path: ['input', 'tags'] }])
  expect(await tagsOf(more(10), await world.mint({ tags: more(10) }))).toEqual(more(10))
  expect(await tagsOf(['one'], await world.mint({ tags: more(10) }))).toMatchObject([
    { path: ['input', 'tags'] },
  ])
  expect(await tagsOf(more(10), await world.mint({}))).toEqual(more(10))
  // Rejected requests created nothing, and used up none of the submits.
  expect(await world.list(token)).toHaveLength(5)
  const singleSubmit = await world.mint({ tags: ['a', 'b'], maxSubmits: 1 })
  expect(await tagsOf(more(9), singleSubmit)).toMatchObject([{ path: ['input', 'tags'] }])
  expect(await tagsOf(null, singleSubmit)).toEqual(['a', 'b'])
})

test('a token retries what it may see, with the tags of both, and gets no link to an invisible prediction', async () => {
  await using world = await open()
  const token = await world.mint({ tags: ['a'] })
  const hidden = await world.add(['b'])
  const old = await world.add(['a', 'c'], hidden)
  expect((await world.retry({ id: hidden }, token)).code).toBe('NOT_FOUND')
  expect(await world.retry({ id: old }, token)).toMatchObject({ issues: [{ path: ['input', 'id'] }] })
  const canceled = await world.cancel(old, token)
  const again = await world.cancel(old, token)
  expect([again.code, again.prediction.id]).toEqual(['ALREADY_FINISHED', old])
  const { prediction } = await world.retry({ id: old }, token)
  expect([prediction.tags, prediction.retryOf.id]).toEqual([['a', 'c'], old])
  const id = decodeId(hidden).id
  for (const answer of [canceled, again, { prediction }]) {
    expect(answer.prediction.retryOf?.id).not.toBe(hidden)
    for (const trace of [hidden, id]) expect(JSON.stringify(answer)).not.toContain(trace)
  }
  // The retry of a prediction that is visible by its id gets the token's tags, too.
  const byId = await world.mint({ tags: ['t'], predictionIds: [old] })
  expect((await world.retry({ id: old }, byId)).prediction.tags).toEqual(['t', 'a', 'c'])
  const full = await world.add(Array.from({ length: 10 }, (_, i) => `${i}`))
  await world.cancel(full)
  const tooFull = await world.mint({ tags: ['t'], predictionIds: [full] })
  expect(await world.retry({ id: full }, tooFull)).toMatchObject({ issues: [{ path: ['input', 'id'] }] })
})

test('another app’s ids and tags give no access', async () => {
  await using world = await open()
  const otherAppKey = await world.harness.gateway.issueKey('other', 60_000)
  const { prediction } = await world.submit({ tags: ['a'] }, otherAppKey)
  const token = await world.mint({ tags: ['a'], predictionIds: [prediction.id] })
  expect(await world.list(token)).toEqual([])
  expect([
    (await world.cancel(prediction.id, token)).code,
    (await world.retry({ id: prediction.id }, token)).code,
  ]).toEqual(['NOT_FOUND', 'NOT_FOUND'])
  // A token of the other app with the same restriction gives none either.
  const otherAppToken = await mintToken(
    world.harness,
    { tags: ['a'], predictionIds: [prediction.id] },
    otherAppKey,
  )
  await world.submit({ idempotencyKey: 'k' }, otherAppToken)
  expect(await world.list(token)).toEqual([])
  expect((await world.submit({ idempotencyKey: 'k', prompt: 'y' }, token)).__typename).toBe(
    'SubmitVideoPayload',
  )
})
