import { connect } from 'node:net'
import { decodeJwt } from 'jose'
import { describe, expect, test } from 'vitest'
import { clocksFrom } from '../support/clocks.ts'
import { openEventStream } from '../support/event-stream.ts'
import { drain, type Harness, startGateway, submit, TRANSPORTS, take } from '../support/gateway.ts'
import { openRawWebSocket } from '../support/raw-websocket.ts'
import { runConcurrently } from '../support/run-concurrently.ts'
import { mintToken, REJECT_SUBMITS, requestToken } from '../support/token.ts'
import { until } from '../support/until.ts'

const SUBMIT = `mutation ($input: SubmitVideoInput!) { answer: submitVideo(input: $input) {
  __typename ... on SubmitVideoPayload { prediction { id } } ... on Error { code } } }`
const CANCEL = `mutation ($input: CancelPredictionInput!) { answer: cancelPrediction(input: $input) {
  __typename ... on CancelPredictionPayload { prediction { id } } ... on Error { code } } }`
const RETRY = `mutation ($input: RetryPredictionInput!) { answer: retryPrediction(input: $input) {
  __typename ... on RetryPredictionPayload { prediction { id retryOf { id } } } ... on Error { code } } }`
const INPUT = { image: { url: 'https://images.example/cat.png' }, prompt: 'x' }
const FEED = 'subscription { predictionFeed { __typename } }'

const mutate = async (harness: Harness, document: string, input: object, key?: string) => {
  const { data, errors } = await harness.query(document, { input }, key)
  expect(errors).toBeUndefined()
  return data.answer
}

/** A gateway with a movable clock. */
async function start() {
  let clockOffsetMs = 0
  const harness = await startGateway({
    overrides: { ...REJECT_SUBMITS, clocks: clocksFrom(() => Date.now() + clockOffsetMs) },
  })
  return {
    harness,
    advanceClock(ms: number) {
      clockOffsetMs += ms
    },
    now: () => Date.now() + clockOffsetMs,
    [Symbol.asyncDispose]: () => harness[Symbol.asyncDispose](),
  }
}

const SECOND = 1000
const HOUR = 60 * 60 * SECOND
const ids = (count: number) => Array.from({ length: count }, () => 'UHJlZGljdGlvbjp4')
const tags = (count: number, text = 't') => Array.from({ length: count }, (_, i) => `${i}`.padEnd(64, text))

describe('createAccessToken', () => {
  test('createAccessToken reports the path of each invalid input, and accepts the limits', async () => {
    await using world = await startGateway()
    const fault = async (input: object) => {
      const answer = await requestToken(world, { permissions: ['READ'], ...input })
      return answer.issues?.map((issue: { path: string[] }) => issue.path.join('.')) ?? answer.__typename
    }
    const fine = 'CreateAccessTokenPayload'
    for (const [input, expected] of [
      [{}, fine],
      [{ permissions: [] }, ['input.permissions']],
      [{ permissions: ['READ', 'READ', 'SUBMIT'] }, fine],
      [{ tags: null, predictionIds: null }, fine],
      [{ tags: [] }, ['input.tags']],
      [{ tags: [], predictionIds: ids(1) }, ['input.tags']],
      [{ predictionIds: [] }, ['input.predictionIds']],
      [{ tags: ['a'], predictionIds: [] }, ['input.predictionIds']],
      [{ tags: tags(10) }, fine],
      [{ tags: tags(11) }, ['input.tags']],
      [{ tags: ['\u{1f3ac}'.repeat(64)] }, fine],
      [{ tags: ['x'.repeat(65)] }, ['input.tags.0']],
      [{ tags: ['a', ' ', ''] }, ['input.tags.1', 'input.tags.2']],
      [{ tags: ['\ud800'] }, ['input.tags.0']],
      [{ predictionIds: ids(100) }, fine],
      [{ predictionIds: ids(101) }, ['input.predictionIds']],
      [{ predictionIds: ['garbage', ''] }, fine],
      [{ maxSubmits: -1 }, ['input.maxSubmits']],
      [{ maxSubmits: 0 }, fine],
      [{ maxSubmits: 10_000 }, fine],
      [{ maxSubmits: 10_001 }, ['input.maxSubmits']],
      [{ expiresInSeconds: 0 }, ['input.expiresInSeconds']],
      [{ expiresInSeconds: -5 }, ['input.expiresInSeconds']],
      [{ expiresInSeconds: 1 }, fine],
      [{ expiresInSeconds: 86_400 }, fine],
      [{ expiresInSeconds: 86_401 }, ['input.expiresInSeconds']],
      [
        { permissions: [], tags: [], predictionIds: [], maxSubmits: -1, expiresInSeconds: 0 },
        [
          'input.permissions',
          'input.tags',
          'input.predictionIds',
          'input.maxSubmits',
          'input.expiresInSeconds',
        ],
      ],
    ] as [object, unknown][])
      expect([input, await fault(input)]).toEqual([input, expected])
    const { errors } = await world.query(
      'mutation { createAccessToken(input: {permissions: [ADMIN]}) { __typename } }',
    )
    expect(errors).toHaveLength(1)
  })

  test('by default a token grants one submit and expires in 15 minutes', async () => {
    await using world = await startGateway()
    const before = Math.floor(Date.now() / SECOND) * SECOND
    const { token, expiresAt } = await requestToken(world, { permissions: ['SUBMIT'] })
    const { exp, max, only, may } = decodeJwt(token)
    expect([max, only, may, exp]).toEqual([1, null, ['SUBMIT'], Date.parse(expiresAt) / SECOND])
    expect(Date.parse(expiresAt)).toBeGreaterThanOrEqual(before + 900 * SECOND)
    expect(Date.parse(expiresAt)).toBeLessThanOrEqual(Date.now() + 901 * SECOND)
  })

  test('the largest token that can be minted is accepted by every transport', async () => {
    await using world = await startGateway()
    const many = Array.from({ length: 100 }, (_, i) =>
      Buffer.from(`Prediction:018f0000-0000-7000-8000-${`${i}`.padStart(12, '0')}`).toString('base64url'),
    )
    for (const filling of ['\u{1f3ac}', '\u0001', '\u2028']) {
      const ten = Array.from({ length: 10 }, (_, i) => `${i}${filling.repeat(63)}`)
      const token = await mintToken(world, { tags: ten, predictionIds: many })
      expect((await world.query('{ viewer { name } }', {}, token)).data).toEqual({ viewer: { name: 'test' } })
      for (const transport of TRANSPORTS) {
        const feed = world.subscribe(transport, FEED, {}, token)
        expect((await take(feed, 1))[0]?.data).toEqual({ predictionFeed: { __typename: 'FeedCaughtUp' } })
        await feed.return?.()
      }
    }
  })

  test('a token is valid until the millisecond before `expiresAt`, and invalid from then on', async () => {
    await using world = await start()
    const { harness, advanceClock, now } = world
    const name = async (token: string) => (await harness.query('{ viewer { name } }', {}, token)).data?.viewer
    const { token, expiresAt } = await requestToken(harness, { permissions: ['READ'], expiresInSeconds: 60 })
    advanceClock(Date.parse(expiresAt) - now() - 2 * SECOND)
    expect(await name(token)).toEqual({ name: 'test' })
    advanceClock(Date.parse(expiresAt) - now())
    const { data, errors } = await harness.query('{ viewer { name } }', {}, token)
    expect([data, errors?.[0]?.extensions]).toEqual([undefined, { code: 'UNAUTHENTICATED' }])
    expect(await harness.query('{ viewer { name } }', {}, 'nonsense')).toEqual({ errors })
  })

  test('a token is valid at least as long as requested, however short', async () => {
    await using world = await startGateway()
    for (let i = 0; i < 5; i++) {
      const before = Date.now()
      const { expiresAt } = await requestToken(world, { permissions: ['READ'], expiresInSeconds: 1 })
      expect(Date.parse(expiresAt) - before).toBeGreaterThanOrEqual(SECOND)
      await until(() => Date.now() >= before + 130)
    }
  })

  test('a token expires no later than its key, by the key’s current expiry', async () => {
    await using world = await start()
    const { harness, now } = world
    const key = await harness.gateway.issueKey('test', 10 * SECOND)
    const end = now() + 10 * SECOND
    const expiry = async () =>
      Date.parse(
        (await requestToken(harness, { permissions: ['READ'], expiresInSeconds: 86_400 }, key)).expiresAt,
      )
    expect(await expiry()).toBeLessThanOrEqual(end)
    expect(await expiry()).toBeGreaterThan(end - 2 * SECOND)
    // An operator extends the key: no cached expiry may contradict it.
    const { store } = harness.gateway
    const { findKey } = store
    store.findKey = async prefix => {
      const row = await findKey(prefix)
      return row && { ...row, expiresAt: key.startsWith(prefix) ? end + HOUR : row.expiresAt }
    }
    expect(await expiry()).toBeGreaterThan(end + HOUR - 2 * SECOND)
    await until(async () => {
      world.advanceClock(20 * SECOND)
      return (await harness.query('{ viewer { name } }', {}, key)).data?.viewer.name === 'test'
    })
    store.findKey = findKey
  })

  test('a token cannot mint a token, whatever its permissions', async () => {
    await using world = await startGateway()
    for (const permissions of [['READ'], ['SUBMIT'], ['READ', 'SUBMIT']]) {
      const token = await mintToken(world, { permissions })
      for (const input of [{ permissions }, { permissions: [] }])
        expect(await requestToken(world, input, token)).toEqual({
          __typename: 'ForbiddenError',
          code: 'FORBIDDEN',
        })
    }
  })
})

const stream = (harness: Harness, key: string, query = FEED) => openEventStream(harness, { query, key })

const subscribe = (id: string, query: string) => ({ id, type: 'subscribe', payload: { query } })

describe('permissions', () => {
  test('READ reads, and changes nothing: neither what it sees nor what does not exist', async () => {
    await using harness = await startGateway({ overrides: REJECT_SUBMITS })
    const id = await submit(harness)
    const unknown = Buffer.from('Prediction:018f0000-0000-7000-8000-000000000000').toString('base64url')
    const token = await mintToken(harness, { permissions: ['READ'] })
    const forbidden = { __typename: 'ForbiddenError', code: 'FORBIDDEN' }
    expect(await mutate(harness, SUBMIT, INPUT, token)).toEqual(forbidden)
    expect(await mutate(harness, SUBMIT, { ...INPUT, prompt: '' }, token)).toEqual(forbidden)
    for (const each of [id, unknown, 'garbage'])
      for (const document of [CANCEL, RETRY])
        expect(await mutate(harness, document, { id: each }, token)).toEqual(forbidden)
    const { data } = await harness.query(
      'query ($id: ID!) { prediction(id: $id) { status } predictions { edges { node { id } } } }',
      { id },
      token,
    )
    expect(data).toEqual({ prediction: { status: 'QUEUED' }, predictions: { edges: [{ node: { id } }] } })
    for (const transport of TRANSPORTS) {
      const feed = harness.subscribe(transport, FEED, {}, token)
      expect(await take(feed, 1)).toMatchObject([{ data: {} }])
      await feed.return?.()
    }
  })

  test('SUBMIT submits, cancels and retries; every transport rejects reads, and the socket stays open', async () => {
    await using harness = await startGateway({ overrides: REJECT_SUBMITS })
    const token = await mintToken(harness, { permissions: ['SUBMIT'], maxSubmits: 2 })
    const { prediction } = await mutate(harness, SUBMIT, INPUT, token)
    expect((await mutate(harness, CANCEL, prediction, token)).prediction).toEqual(prediction)
    expect((await mutate(harness, RETRY, prediction, token)).prediction.retryOf).toEqual(prediction)

    const queries = [
      '{ viewer { name } }',
      'query { predictions { edges { node { id } } } }',
      '{ feedCursor }',
      '{ __schema { types { name } } }',
      '{ __typename }',
      `query ($id: ID! = "${prediction.id}") { node(id: $id) { id } }`,
    ]
    const subscriptions = [FEED, `subscription { predictionUpdated(id: "${prediction.id}") { id } }`]
    const refusal = [expect.objectContaining({ extensions: { code: 'FORBIDDEN' } })]
    for (const query of queries) {
      expect(await harness.query(query, {}, token)).toMatchObject({ errors: refusal })
      const get = await harness.fetch(`/graphql?query=${encodeURIComponent(query)}`, {
        headers: { authorization: `Bearer ${token}`, accept: 'application/json' },
      })
      expect(await get.json()).toMatchObject({ errors: refusal })
    }
    for (const query of subscriptions) {
      const { text, ended } = await stream(harness, token, query).then(async read => ({
        ended: await read.ended,
        text: read.text,
      }))
      expect([ended, text]).toEqual(['ended', expect.stringContaining('"FORBIDDEN"')])
      expect(text).not.toContain('"data"')
      for (const transport of TRANSPORTS)
        expect(await drain(harness.subscribe(transport, query, {}, token))).toMatchObject([
          { errors: refusal },
        ])
    }
    const { socket, received, send, closed } = await openRawWebSocket(harness, token)
    for (const [i, query] of [...queries, ...subscriptions].entries()) {
      send(subscribe(`${i}`, query))
      const answer = await until(() => received.find(({ id }) => id === `${i}`))
      const errors =
        answer.type === 'error' ? answer.payload : (answer.payload as unknown as { errors: unknown }).errors
      expect([query, errors]).toEqual([query, refusal])
    }
    send(
      subscribe(
        'm',
        `mutation { submitVideo(input: {image: {url: "https://x.example/"}, prompt: "x"}) { __typename } }`,
      ),
    )
    const last = await until(() => received.find(({ id }) => id === 'm'))
    expect(last.payload).toEqual({ data: { submitVideo: { __typename: 'ForbiddenError' } } })
    socket.close()
    await closed
    expect(harness.log.filter(({ level }) => level === 'error')).toEqual([])
  })

  test('the named operation decides, whatever else is in the document', async () => {
    await using harness = await startGateway({ overrides: REJECT_SUBMITS })
    const token = await mintToken(harness, { permissions: ['SUBMIT'] })
    const query = `query Q { viewer { name } } mutation M { createAccessToken(input: {permissions: []}) { __typename } }`
    const run = async (operationName?: string) => {
      const response = await harness.fetch('/graphql', {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
        body: JSON.stringify({ query, operationName }),
      })
      return response.json()
    }
    expect(await run('M')).toEqual({ data: { createAccessToken: { __typename: 'ForbiddenError' } } })
    for (const name of ['Q', 'X', undefined]) {
      const answer = JSON.stringify(await run(name))
      expect(answer).toContain('"errors"')
      expect(answer).not.toContain('test')
    }
  })
})

describe('maxSubmits', () => {
  test('of 50 concurrent submits and retries exactly as many are accepted; repeated ones count once; a restart forgets none', async () => {
    await using harness = await startGateway({ overrides: REJECT_SUBMITS })
    const id = await submit(harness)
    await mutate(harness, CANCEL, { id })
    const token = await mintToken(harness, { maxSubmits: 3 })
    const first = await mutate(harness, SUBMIT, { ...INPUT, idempotencyKey: 'k' }, token)
    const requests = Array.from({ length: 50 }, (_, i) => {
      if (i % 5 === 0) return mutate(harness, SUBMIT, { ...INPUT, idempotencyKey: 'k' }, token)
      return i % 2 === 0 ? mutate(harness, SUBMIT, INPUT, token) : mutate(harness, RETRY, { id }, token)
    })
    const answers = await Promise.all(requests)
    const made = new Set(answers.map(answer => answer.prediction?.id).filter(Boolean))
    expect(made.has(first.prediction.id)).toBe(true)
    expect(made.size).toBe(3)
    expect(answers.filter(({ code }) => code === 'FORBIDDEN')).toHaveLength(50 - 10 - 2)
    const count = async () =>
      (await harness.query('{ predictions { edges { node { id } } } }')).data.predictions.edges.length
    expect(await count()).toBe(4)
    await harness.restart()
    expect((await mutate(harness, SUBMIT, INPUT, token)).code).toBe('FORBIDDEN')
    expect((await mutate(harness, RETRY, { id }, token)).code).toBe('FORBIDDEN')
    expect(await mutate(harness, SUBMIT, { ...INPUT, idempotencyKey: 'k' }, token)).toEqual(first)
    expect(await count()).toBe(4)
    // Another token of the same app cannot see it.
    expect(
      (await mutate(harness, SUBMIT, INPUT, await mintToken(harness, { maxSubmits: 1 }))).prediction,
    ).toBeDefined()
  })

  test('aliases of one operation count each; with 0 every submit is rejected', async () => {
    await using harness = await startGateway({ overrides: REJECT_SUBMITS })
    const field = 'submitVideo(input: {image: {url: "https://x.example/"}, prompt: "x"}) { __typename }'
    const token = await mintToken(harness, { maxSubmits: 2 })
    const { data } = await harness.query(`mutation { a: ${field} b: ${field} c: ${field} }`, {}, token)
    expect(data.c).toEqual({ __typename: 'ForbiddenError' })
    expect(data.b).toEqual(data.a)
    const none = await mintToken(harness, { maxSubmits: 0 })
    expect((await mutate(harness, SUBMIT, INPUT, none)).code).toBe('FORBIDDEN')
  })
})

describe('a token becomes invalid', () => {
  const DAY = 24 * HOUR
  type World = Awaited<ReturnType<typeof start>>
  const ROWS: [string, number, (world: World, key: string) => unknown][] = [
    ['revoked', DAY, ({ harness }, key) => harness.gateway.store.revokeKey(key.slice(0, 12))],
    ['expired', 30 * 60 * SECOND, ({ advanceClock }) => advanceClock(31 * 60 * SECOND)],
    ['at its own end', DAY, ({ advanceClock }) => advanceClock(2 * HOUR)],
  ]

  test('with its key, revoked or expired, and at its own expiry: for requests, and within five seconds for open connections', () =>
    runConcurrently(ROWS, async ([, life, invalidate]) => {
      await using world = await start()
      const { harness } = world
      const key = await harness.gateway.issueKey('test', life)
      const stays = await harness.gateway.issueKey('test', DAY)
      const token = await mintToken(harness, { expiresInSeconds: 3600, tags: ['a'] }, key)
      const other = await mintToken(harness, { expiresInSeconds: 86_400, tags: ['a'] }, stays)
      const [mine, theirs] = [await openRawWebSocket(harness, token), await openRawWebSocket(harness, other)]
      for (const { send } of [mine, theirs]) send(subscribe('a', FEED))
      const [myStream, theirStream] = [await stream(harness, token), await stream(harness, other)]
      await until(() => [myStream, theirStream].every(({ text }) => text.includes('FeedCaughtUp')))
      const invalidatedAt = Date.now()
      await invalidate(world, key)
      await until(async () => (await harness.query('{ viewer { name } }', {}, token)).errors)
      expect(Date.now() - invalidatedAt).toBeLessThan(2000)
      expect(await mine.closed).toEqual([4403, 'Forbidden'])
      expect(await myStream.ended).toBe('ended')
      expect(Date.now() - invalidatedAt).toBeLessThan(5000)
      expect(myStream.text).not.toContain('complete')
      expect((await stream(harness, token)).response.status).toBe(401)
      expect(await (await openRawWebSocket(harness, token)).closed).toEqual([4401, 'Unauthorized'])
      // Connections of another key stay open.
      await submit(harness, 'x', other)
      await until(() => theirStream.text.includes('PredictionEvent') && theirs.received.length >= 3)
      theirs.socket.close()
      await theirs.closed
    }))

  test('if its key belongs to another app', async () => {
    await using harness = await startGateway()
    const { store } = harness.gateway
    const token = await mintToken(harness)
    const other = await harness.gateway.issueKey('other', HOUR)
    const { findKey } = store
    store.findKey = prefix => findKey(harness.key.startsWith(prefix) ? other.slice(0, 12) : prefix)
    await until(async () => (await harness.query('{ viewer { name } }', {}, token)).errors)
    store.findKey = findKey
  })

  test('if it is changed in any part; the prefix of a key is no credential either', async () => {
    await using harness = await startGateway()
    const token = await mintToken(harness)
    for (const each of [
      `${token}x`,
      token.slice(1),
      token.toUpperCase(),
      `rsh_${token}`,
      harness.key.slice(0, 12),
    ]) {
      const response = await harness.fetch('/graphql', {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: `Bearer ${each}` },
        body: JSON.stringify({ query: '{ __typename }' }),
      })
      expect(response.status).toBe(401)
      await response.body?.cancel()
    }
  })
})

test('a mutation by a token without READ returns nothing of a prediction that the token did not submit', async () => {
  await using harness = await startGateway()
  const { data } = await harness.query(
    `mutation { submitVideo(input: { image: { url: "https://images.example/a.png" }, prompt: "heron sim:seconds=0", idempotencyKey: "k", tags: ["t"] }) { ... on SubmitVideoPayload { prediction { id } } } }`,
  )
  const { id } = data.submitVideo.prediction
  for (const input of [{ permissions: ['SUBMIT'] }, { permissions: ['SUBMIT'], tags: ['t'] }]) {
    const token = await mintToken(harness, input)
    const ask = async (mutation: string) => JSON.stringify(await harness.query(mutation, { id }, token))
    const PREDICTION = 'prediction { input { prompt } tags }'
    for (const mutation of ['cancelPrediction', 'retryPrediction'])
      expect(
        await ask(`mutation ($id: ID!) { ${mutation}(input: { id: $id }) { ... on Error { code } } }`),
      ).toBe(`{"data":{"${mutation}":{"code":"NOT_FOUND"}}}`)
    const again = await ask(
      `mutation { submitVideo(input: { image: { url: "https://images.example/b.png" }, prompt: "other", idempotencyKey: "k" }) { ... on SubmitVideoPayload { ${PREDICTION} } ... on IdempotencyConflictError { ${PREDICTION} } } }`,
    )
    expect(again).not.toContain('heron')
    expect(again).toContain('other')
  }
  const named = await mintToken(harness, { permissions: ['SUBMIT'], predictionIds: [id] })
  const CANCEL = 'mutation ($id: ID!) { cancelPrediction(input: { id: $id }) { __typename } }'
  const answer = await harness.query(CANCEL, { id }, named)
  expect(answer.data.cancelPrediction.__typename).not.toBe('NotFoundError')
})

describe('an idempotency key that another token without READ has used', () => {
  const CARD = `prediction { id status upstreamId input { prompt } outputs { url } metadata
    history { edges { node { type } } } }`
  const ANSWER = `__typename ... on IdempotencyConflictError { ${CARD} } ... on InvalidInputError { issues { path } }
    ... on Error { code }`
  const ASK = `mutation ($input: SubmitVideoInput!) { answer: submitVideo(input: $input) {
    ... on SubmitVideoPayload { ${CARD} } ${ANSWER} } }`
  const ASK_RETRY = `mutation ($input: RetryPredictionInput!) { answer: retryPrediction(input: $input) {
    ... on RetryPredictionPayload { ${CARD} } ${ANSWER} } }`
  const SECRET = { ...INPUT, prompt: 'heron sim:seconds=0', idempotencyKey: 'order-1' }

  async function openWithTwoTokens() {
    const harness = await startGateway()
    const [own, other] = [
      await mintToken(harness, { permissions: ['SUBMIT'] }),
      await mintToken(harness, { permissions: ['SUBMIT'] }),
    ]
    const first = await mutate(harness, ASK, SECRET, own)
    await until(async () => (await mutate(harness, ASK, SECRET, own)).prediction.status === 'COMPLETED')
    return { harness, own, other, id: first.prediction.id }
  }

  test('answers another request with nothing of the prediction, in submitVideo and in retryPrediction', async () => {
    const { harness, own, other, id } = await openWithTwoTokens()
    await using _ = harness
    const refused = {
      __typename: 'InvalidInputError',
      code: 'INVALID_INPUT',
      issues: [{ path: ['input', 'idempotencyKey'] }],
    }
    const guess = { ...SECRET, prompt: 'another' }
    expect(await mutate(harness, ASK, guess, other)).toEqual(refused)
    const failing = await mutate(harness, ASK, { ...INPUT, prompt: 'x sim:seconds=0 sim:fail=1403' }, other)
    const retried = { id: failing.prediction.id, idempotencyKey: 'order-1' }
    expect(await mutate(harness, ASK_RETRY, retried, other)).toEqual(refused)
    // Its own token gets the conflict with its prediction.
    expect(await mutate(harness, ASK, guess, own)).toMatchObject({
      code: 'IDEMPOTENCY_CONFLICT',
      prediction: { id },
    })
  })

  test('answers the same request with the same prediction, as it was submitted: a browser may have a fresh token', async () => {
    const { harness, own, other, id } = await openWithTwoTokens()
    await using _ = harness
    expect(await mutate(harness, ASK, SECRET, other)).toEqual({
      prediction: {
        id,
        status: 'QUEUED',
        upstreamId: null,
        input: { prompt: SECRET.prompt },
        outputs: [],
        metadata: null,
        history: { edges: [{ node: { type: 'QUEUED' } }] },
      },
      __typename: 'SubmitVideoPayload',
    })
    const { prediction } = await mutate(harness, ASK, SECRET, own)
    expect(prediction).toMatchObject({ id, status: 'COMPLETED', outputs: [{}] })
    expect(prediction.history.edges.length).toBeGreaterThan(1)
    // Nor do its outputs come with an attempt to cancel it.
    const CANCEL_CARD = `mutation ($input: CancelPredictionInput!) { answer: cancelPrediction(input: $input) {
      ... on AlreadyFinishedError { code ${CARD} } } }`
    const finished = await mutate(harness, CANCEL_CARD, { id }, other)
    expect(finished).toMatchObject({
      code: 'ALREADY_FINISHED',
      prediction: { outputs: [], upstreamId: null },
    })
    expect((await mutate(harness, CANCEL_CARD, { id }, own)).prediction.outputs).toHaveLength(1)
  })

  test('is free for a token with READ and the tag that names tokens without READ', async () => {
    const { harness, own, id } = await openWithTwoTokens()
    await using _ = harness
    const reader = await mintToken(harness, { tags: ['without READ'] })
    const { data } = await harness.query('{ predictions { edges { node { id } } } }', {}, reader)
    expect(data.predictions.edges).toEqual([])
    const answer = await mutate(harness, ASK, SECRET, reader)
    expect([answer.__typename, answer.prediction.id === id]).toEqual(['SubmitVideoPayload', false])
    expect((await mutate(harness, ASK, SECRET, own)).prediction.id).toBe(id)
  })
})

test('a key that is revoked while a body arrives is rejected', async () => {
  await using harness = await startGateway()
  const key = await harness.gateway.issueKey('late', 60 * 60 * 1000)
  const body = JSON.stringify({ query: '{ viewer { name } }' })
  const socket = connect(Number(new URL(harness.gateway.url).port), '127.0.0.1')
  const head = `POST /graphql HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer ${key}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: ${body.length}\r\n\r\n`
  socket.write(head + body.slice(0, 10))
  // On another connection, and later: its headers have been read by then.
  for (let i = 0; i < 20; i++) await harness.query('{ viewer { name } }', {}, key)
  await harness.gateway.store.revokeKey(key.slice(0, 12))
  await until(async () => (await harness.query('{ viewer { name } }', {}, key)).errors !== undefined)
  socket.write(body.slice(10))
  let answer = ''
  for await (const chunk of socket) answer += chunk
  expect(answer).toMatch(/^HTTP\/1.1 401 /)
  expect(answer).toContain('UNAUTHENTICATED')
})

test('a token may have fifty connections; its key is not limited by them', async () => {
  await using harness = await startGateway()
  const token = await mintToken(harness, { permissions: ['READ'] })
  const FEED = 'subscription { predictionFeed { __typename } }'
  for (let i = 0; i < 50; i++) await take(harness.subscribe('WebSocket', FEED, {}, token), 1)
  const more = await harness
    .subscribe('WebSocket', FEED, {}, token)
    .next()
    .catch(error => error)
  expect(more).toMatchObject({ code: 1013 })
  await take(harness.subscribe('WebSocket', FEED), 1)
})
