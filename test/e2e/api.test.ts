import { describe, expect, test } from 'vitest'
import { type Harness, type Result, startGateway, submit } from '../support/gateway.ts'
import { until } from '../support/until.ts'

const SUBMIT = `mutation ($input: SubmitVideoInput!) {
  submitVideo(input: $input) {
    __typename
    ... on SubmitVideoPayload { prediction { id status tags metadata cost { amount currency } input { imageUrl prompt negativePrompt duration enablePromptExpansion seed } } }
    ... on InvalidInputError { issues { path message } }
    ... on IdempotencyConflictError { prediction { id } }
    ... on Error { code message retryable }
  }
}`
const VALID = { image: { url: 'https://images.example/cat.png' }, prompt: 'a cat' }
const UNKNOWN = Buffer.from('Prediction:018f0000-0000-7000-8000-000000000000').toString('base64url')

const submitVideo = async (harness: Harness, input: object, key?: string) =>
  (await harness.query(SUBMIT, { input }, key)).data.submitVideo

describe('submitVideo', () => {
  test('accepts a minimal input, with the defaults of the contract', async () => {
    await using harness = await startGateway()
    expect(await submitVideo(harness, VALID)).toMatchObject({
      __typename: 'SubmitVideoPayload',
      prediction: {
        status: 'QUEUED',
        tags: [],
        metadata: null,
        cost: { amount: 0.8, currency: 'USD' },
        input: {
          imageUrl: 'https://images.example/cat.png',
          prompt: 'a cat',
          negativePrompt: null,
          duration: 5,
          enablePromptExpansion: false,
          seed: -1,
        },
      },
    })
  })

  test('returns every input as it was given', async () => {
    await using harness = await startGateway()
    const metadata = { shot: 7, nested: [null, true, { a: 'ü' }] }
    const input = {
      ...VALID,
      model: 'WAN_2_2_I2V_PLUS_480P',
      negativePrompt: 'blur',
      enablePromptExpansion: true,
      seed: 2_147_483_647,
      tags: ['x', 'y'],
      metadata,
    }
    const { prediction } = await submitVideo(harness, input)
    expect(prediction).toMatchObject({ tags: ['x', 'y'], metadata, cost: { amount: 0.2 } })
    expect(prediction.input).toMatchObject({
      negativePrompt: 'blur',
      enablePromptExpansion: true,
      seed: 2_147_483_647,
    })
  })

  test.each([
    ['a duration the model does not have', { duration: 7 }, ['input', 'duration']],
    ['a seed below -1', { seed: -2 }, ['input', 'seed']],
    ['an empty prompt', { prompt: ' \n' }, ['input', 'prompt']],
    ['an image that is not a URL', { image: { url: 'cat.png' } }, ['input', 'image', 'url']],
    ['an image that is not a web URL', { image: { url: 'file:///etc/passwd' } }, ['input', 'image', 'url']],
    [
      'an image with a space in its URL',
      { image: { url: ' https://a.example/x' } },
      ['input', 'image', 'url'],
    ],
    ['eleven tags', { tags: [...'abcdefghijk'] }, ['input', 'tags']],
    ['a tag of 65 characters', { tags: ['ok', 'x'.repeat(65)] }, ['input', 'tags', '1']],
    ['an empty tag', { tags: [''] }, ['input', 'tags', '0']],
    ['an empty idempotency key', { idempotencyKey: '' }, ['input', 'idempotencyKey']],
    [
      'an idempotency key of 256 characters',
      { idempotencyKey: 'k'.repeat(256) },
      ['input', 'idempotencyKey'],
    ],
    ['more than 4 KiB of metadata', { metadata: 'x'.repeat(4096) }, ['input', 'metadata']],
    [
      'an image with a control character in its URL',
      { image: { url: 'https://a.example/\u0000x' } },
      ['input', 'image', 'url'],
    ],
    ['half a surrogate pair', { prompt: 'a \ud83d cat' }, ['input', 'prompt']],
  ])('rejects %s, with its path', async (_, fault, path) => {
    await using harness = await startGateway()
    const answer = await submitVideo(harness, { ...VALID, ...fault })
    expect(answer).toMatchObject({ __typename: 'InvalidInputError', code: 'INVALID_INPUT', retryable: false })
    expect(answer.issues.map((issue: { path: string[] }) => issue.path)).toEqual([path])
    expect((await harness.gateway.store.eventRange()).head).toBe(0)
  })

  test('rejects metadata that is nested too deep to be serialised, with its path', async () => {
    await using harness = await startGateway()
    const input = { ...VALID, metadata: 'HERE' }
    // JSON.stringify of a client could not write it either.
    const body = JSON.stringify({ query: SUBMIT, variables: { input } }).replace(
      '"HERE"',
      '['.repeat(9000) + ']'.repeat(9000),
    )
    const headers = { 'content-type': 'application/json', authorization: `Bearer ${harness.key}` }
    const answer = (await (
      await harness.fetch('/graphql', { method: 'POST', headers, body })
    ).json()) as Result
    expect(answer.data.submitVideo.issues).toEqual([
      { path: ['input', 'metadata'], message: 'expected at most 4 KiB of JSON' },
    ])
    expect(harness.log.filter(line => line.level === 'error')).toEqual([])
  })

  test('reports all faults at once', async () => {
    await using harness = await startGateway()
    const { issues } = await submitVideo(harness, {
      image: { url: '' },
      prompt: '',
      duration: 0,
      seed: -9,
      tags: [''],
    })
    const paths = issues.map((issue: { path: string[] }) => issue.path.join('.')).sort()
    expect(paths).toEqual(['input.duration', 'input.image.url', 'input.prompt', 'input.seed', 'input.tags.0'])
  })

  test.each([
    ['4 KiB of metadata', { metadata: 'x'.repeat(4094) }],
    ['ten tags of 64 characters', { tags: [...'abcdefghij'].map(tag => tag.repeat(64)) }],
    ['an idempotency key of 255 characters', { idempotencyKey: 'k'.repeat(255) }],
    ['a long prompt', { prompt: 'x'.repeat(5000) }],
  ])('accepts %s', async (_, input) => {
    await using harness = await startGateway()
    expect(await submitVideo(harness, { ...VALID, ...input })).toMatchObject({
      __typename: 'SubmitVideoPayload',
    })
  })

  test.each([
    ['a missing prompt', { image: VALID.image }],
    ['neither URL nor upload', { ...VALID, image: {} }],
    ['both URL and upload', { ...VALID, image: { url: 'https://a.example/x', uploadId: 'x' } }],
    ['an unknown model', { ...VALID, model: 'SORA' }],
    ['a seed beyond 32 bits', { ...VALID, seed: 2_147_483_648 }],
    ['a duration that is not an integer', { ...VALID, duration: 5.5 }],
    ['an unknown field', { ...VALID, resolution: '4k' }],
  ])('rejects %s as a request error', async (_, input) => {
    await using harness = await startGateway()
    const { data, errors } = await harness.query(SUBMIT, { input })
    expect(data?.submitVideo).toBeUndefined()
    expect(errors?.length).toBeGreaterThan(0)
    expect(errors?.[0]?.message).not.toBe('Unexpected error.')
  })

  test('a missing upload gets NOT_FOUND', async () => {
    await using harness = await startGateway()
    expect(await submitVideo(harness, { ...VALID, image: { uploadId: 'x' } })).toMatchObject({
      code: 'NOT_FOUND',
    })
  })

  test('the same key and input, sent fifty times at once, make one prediction and one POST', async () => {
    await using harness = await startGateway()
    const input = { ...VALID, idempotencyKey: 'k', metadata: { a: 1, b: 2 } }
    const answers = await Promise.all(Array.from({ length: 50 }, () => submitVideo(harness, input)))
    expect(new Set(answers.map(answer => answer.prediction.id)).size).toBe(1)
    const reordered = await submitVideo(harness, { ...input, metadata: { b: 2, a: 1 } })
    expect(reordered.prediction.id).toBe(answers[0].prediction.id)
    const { calls } = harness.gateway.simulator!
    const posts = () => calls.filter(call => call.path.startsWith('/alibaba'))
    await until(() => posts().length > 0)
    await submit(harness)
    await until(() => posts().length > 1)
    expect(posts()).toHaveLength(2)
  })

  test('the same key with another input conflicts, and names the first prediction', async () => {
    await using harness = await startGateway()
    const first = await submitVideo(harness, { ...VALID, idempotencyKey: 'k' })
    const second = await submitVideo(harness, { ...VALID, idempotencyKey: 'k', seed: 1 })
    expect(second).toMatchObject({ code: 'IDEMPOTENCY_CONFLICT', prediction: { id: first.prediction.id } })
    const other = await harness.gateway.issueKey('other', 60_000)
    expect(await submitVideo(harness, { ...VALID, idempotencyKey: 'k', seed: 1 }, other)).toHaveProperty(
      'prediction.id',
    )
  })
})

describe('reading', () => {
  const LIST = `query ($first: Int, $after: String, $last: Int, $before: String, $filter: PredictionFilter) {
    predictions(first: $first, after: $after, last: $last, before: $before, filter: $filter) {
      edges { cursor node { id } }
      pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    }
  }`
  type Edge = { cursor: string; node: { id: string } }

  test('pages forwards and backwards return every prediction once, newest first', async () => {
    await using harness = await startGateway({ env: { UPSTREAM_CONCURRENCY: '1' } })
    const newestFirst: string[] = []
    for (let i = 0; i < 7; i++) newestFirst.unshift(await submit(harness))
    const walk = async (size: object, move: (info: Record<string, string>) => object, more: string) => {
      const pages: string[][] = []
      for (let position: object | null = {}; position !== null; ) {
        const { data }: Result = await harness.query(LIST, { ...size, ...position })
        const { edges, pageInfo } = data.predictions
        pages.push(edges.map((edge: Edge) => edge.node.id))
        expect([pageInfo.startCursor, pageInfo.endCursor]).toEqual([edges[0].cursor, edges.at(-1).cursor])
        position = pageInfo[more] ? move(pageInfo) : null
      }
      return pages
    }
    const forwards = await walk({ first: 3 }, info => ({ after: info.endCursor }), 'hasNextPage')
    expect(forwards.flat()).toEqual(newestFirst)
    expect(forwards.map(page => page.length)).toEqual([3, 3, 1])
    const backwards = await walk({ last: 3 }, info => ({ before: info.startCursor }), 'hasPreviousPage')
    expect(backwards.reverse().flat()).toEqual(newestFirst)
  })

  test.each([
    [{ first: -1 }],
    [{ first: 101 }],
    [{ last: 101 }],
    [{ first: 1, last: 1 }],
    [{ after: 'nonsense' }],
    [{ filter: { tags: Array.from({ length: 101 }, String) } }],
  ])('rejects %j and names the limits', async variables => {
    await using harness = await startGateway()
    const { errors } = await harness.query(LIST, variables)
    expect(errors?.[0]).toMatchObject({ extensions: { code: 'BAD_ARGUMENT' } })
    expect(errors?.[0]?.message).toMatch(/expected/)
  })

  test('a filter selects by ids, statuses, models, tags and a time range', async () => {
    await using harness = await startGateway()
    const { prediction: tagged } = await submitVideo(harness, { ...VALID, tags: ['a', 'b'] })
    const { prediction: small } = await submitVideo(harness, { ...VALID, model: 'WAN_2_2_I2V_PLUS_480P' })
    const ids = async (filter: object) =>
      (await harness.query(LIST, { filter })).data.predictions.edges.map((edge: Edge) => edge.node.id)
    expect(await ids({ tags: ['b', 'c'] })).toEqual([tagged.id])
    expect(await ids({ models: ['WAN_2_2_I2V_PLUS_480P'] })).toEqual([small.id])
    expect(await ids({ ids: [small.id, UNKNOWN, 'garbage'] })).toEqual([small.id])
    expect(await ids({ statuses: ['COMPLETED', 'CANCELED'] })).toEqual([])
    expect(await ids({ ids: [] })).toEqual([])
    expect(await ids({ createdAfter: new Date(Date.now() - 60_000).toISOString() })).toHaveLength(2)
    expect(await ids({ createdBefore: '2020-01-01T00:00:00+02:00' })).toEqual([])
  })

  test("an unknown id, another app's and garbage are null, wherever an id is taken", async () => {
    await using harness = await startGateway()
    const other = await harness.gateway.issueKey('other', 60_000)
    const otherAppJob = await submit(harness, 'x', other)
    const theirApp = (await harness.query('{ viewer { id } }', {}, other)).data.viewer.id
    const ownJob = await submit(harness)
    const READ = `query ($id: ID!, $ids: [ID!]!) {
      prediction(id: $id) { id } node(id: $id) { id } nodes(ids: $ids) { id }
    }`
    for (const id of [otherAppJob, theirApp, UNKNOWN, 'garbage', '', 'UHJlZGljdGlvbjo', `${ownJob}=`]) {
      const { data, errors } = await harness.query(READ, { id, ids: [id, ownJob, id] })
      expect({ data, errors }).toEqual({
        data: { prediction: null, node: null, nodes: [null, { id: ownJob }, null] },
        errors: undefined,
      })
    }
  })

  test('viewer is the app of the key, a node, with its limits and its usage', async () => {
    await using harness = await startGateway({ env: { UPSTREAM_CONCURRENCY: '1' } })
    await submit(harness, 'sim:seconds=30')
    await submit(harness, 'sim:seconds=30')
    const VIEWER = `{ viewer { id name limits { maxInFlight maxQueued submitsPerMinute monthlyBudget { amount } weight }
      usage { inFlight queued spentThisMonth { amount } } } }`
    const viewer = await until(async () => {
      const { data } = await harness.query(VIEWER)
      return data.viewer.usage.inFlight === 1 && data.viewer
    })
    expect(viewer).toMatchObject({
      name: 'test',
      limits: { maxInFlight: null, maxQueued: null, submitsPerMinute: null, monthlyBudget: null, weight: 1 },
      usage: { inFlight: 1, queued: 1, spentThisMonth: { amount: 1.6 } },
    })
    const node = await harness.query('query ($id: ID!) { node(id: $id) { __typename id } }', {
      id: viewer.id,
    })
    expect(node.data.node).toEqual({ __typename: 'App', id: viewer.id })
  })

  test('queuePosition counts the jobs ahead, and is null for a job that does not wait', async () => {
    await using harness = await startGateway({ env: { UPSTREAM_CONCURRENCY: '1' } })
    const ids: string[] = []
    for (let i = 0; i < 4; i++) ids.push(await submit(harness, 'sim:seconds=30'))
    const positions = await until(async () => {
      const { data } = await harness.query(
        'query ($ids: [ID!]!) { nodes(ids: $ids) { ... on Prediction { queuePosition } } }',
        { ids },
      )
      const found = data.nodes.map((node: { queuePosition: number | null }) => node.queuePosition)
      return found[0] === null && found
    })
    expect(positions).toEqual([null, 1, 2, 3])
  })

  test('models are the catalogue, with the median duration once jobs have finished', async () => {
    await using harness = await startGateway()
    const MODELS = '{ models { model durations cost { amount } expectedSeconds } }'
    const before = (await harness.query(MODELS)).data.models
    expect(before).toEqual([
      { model: 'WAN_2_2_I2V_PLUS_1080P', durations: [5], cost: { amount: 0.8 }, expectedSeconds: 150 },
      { model: 'WAN_2_2_I2V_PLUS_480P', durations: [5], cost: { amount: 0.2 }, expectedSeconds: 90 },
    ])
    await submit(harness)
    const after = await until(async () => {
      const { data } = await harness.query(MODELS)
      return data.models[0].expectedSeconds !== 150 && data.models
    })
    expect(after.map((model: { expectedSeconds: number }) => model.expectedSeconds)).toEqual([0, 90])
  })

  test('history is the events of one prediction, oldest first, in pages', async () => {
    await using harness = await startGateway()
    const id = await submit(harness, 'sim:seconds=1.2')
    await submit(harness)
    const HISTORY = `query ($id: ID!, $first: Int, $after: String) { prediction(id: $id) { status history(first: $first, after: $after) {
      edges { cursor node { cursor type previousStatus prediction { id status } } } pageInfo { hasNextPage hasPreviousPage endCursor } } } }`
    await until(async () => (await harness.query(HISTORY, { id })).data.prediction.status === 'COMPLETED')
    const { edges } = (await harness.query(HISTORY, { id })).data.prediction.history
    expect(edges.map((edge: { node: { prediction: object } }) => edge.node.prediction)).toEqual(
      ['QUEUED', 'CREATED', 'PROCESSING', 'COMPLETED'].map(status => ({ id, status })),
    )
    const first = (await harness.query(HISTORY, { id, first: 3 })).data.prediction.history
    expect(first.pageInfo).toMatchObject({ hasNextPage: true, hasPreviousPage: false })
    const second = (await harness.query(HISTORY, { id, first: 3, after: first.pageInfo.endCursor })).data
      .prediction.history
    expect(second.pageInfo).toMatchObject({ hasNextPage: false, hasPreviousPage: true })
    expect([...first.edges, ...second.edges]).toEqual(edges)
  })

  test('feedCursor is the head before any other field was read, wherever the document selects it', async () => {
    await using harness = await startGateway()
    const { store } = harness.gateway
    const list = store.list
    // A prediction is created after the list was read and before the cursor is resolved. The feed must still deliver
    // it.
    store.list = async (...args) => {
      const page = await list(...args)
      await submit(harness)
      return page
    }
    const { data } = await harness.query(
      '{ predictions { edges { node { id } } } ...F } fragment F on Query { at: feedCursor }',
    )
    store.list = list
    expect(data.predictions.edges).toEqual([])
    const feed = harness.subscribe(
      'SSE',
      'subscription ($after: String) { predictionFeed(after: $after) { __typename } }',
      { after: data.at },
    )
    expect((await feed.next()).value.data.predictionFeed.__typename).toBe('PredictionEvent')
    await feed.return?.()
  })
})

test('a database error is masked, logged once, and shows nothing of the request', async () => {
  await using harness = await startGateway()
  harness.gateway.store.create = async () => {
    throw new Error('SQLITE_FULL at the secret prompt')
  }
  const { data, errors } = await harness.query(SUBMIT, { input: VALID })
  expect(data).toBeNull()
  expect(errors).toMatchObject([
    { message: 'Unexpected error.', path: ['submitVideo'], extensions: { code: 'INTERNAL_SERVER_ERROR' } },
  ])
  expect(harness.log.filter(line => line.level === 'error')).toHaveLength(1)
})
