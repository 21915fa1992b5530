import { describe, expect, test } from 'vitest'
import { fullScope } from '../../src/domain/access-scope.ts'
import { MODELS } from '../../src/domain/models.ts'
import { decodeId } from '../../src/graphql/global-id.ts'
import type { Fault } from '../../src/simulator/simulator.ts'
import { drain, TRANSPORTS, take } from '../support/gateway.ts'
import { runConcurrently } from '../support/run-concurrently.ts'
import { until } from '../support/until.ts'
import {
  FINAL_STATUSES,
  isSubmit,
  openWorld,
  refusal,
  PREDICTION_FIELDS as WORLD_FIELDS,
  type WorldOptions,
} from '../support/world.ts'

const SECOND = 1000
const MINUTE = 60 * SECOND
const UNKNOWN = Buffer.from('Prediction:018f0000-0000-7000-8000-000000000000').toString('base64url')

const FIELDS = `${WORLD_FIELDS} id model tags metadata retryOf { id status }
  input { imageUrl prompt negativePrompt duration enablePromptExpansion seed }`
const REFUSAL = `... on InvalidInputError { issues { path message } } ... on Error { code message retryable }`
const CANCEL = `mutation ($input: CancelPredictionInput!) {
  answer: cancelPrediction(input: $input) {
    __typename ... on CancelPredictionPayload { mayStillBeCharged prediction { ${FIELDS} } }
    ... on AlreadyFinishedError { prediction { ${FIELDS} } } ... on Error { code message retryable }
  }
}`
const RETRY = `mutation ($input: RetryPredictionInput!) {
  answer: retryPrediction(input: $input) {
    __typename ... on RetryPredictionPayload { prediction { ${FIELDS} } }
    ... on IdempotencyConflictError { prediction { id } } ${REFUSAL}
  }
}`
const UPDATED = 'subscription ($id: ID!) { predictionUpdated(id: $id) { id status } }'
const FEED = `subscription ($after: String) {
  predictionFeed(after: $after) { __typename ... on PredictionEvent { previousStatus prediction { id status cost { amount } } } }
}`

/** A world, with its mutations. */
async function open(options: WorldOptions = {}) {
  const world = await openWorld({ ...options, fields: FIELDS })
  return Object.assign(world, {
    cancel: (id: string, as?: string) => world.mutate(CANCEL, { id }, as),
    retry: (input: object, as?: string) => world.mutate(RETRY, input, as),
  })
}

describe('cancelPrediction', () => {
  test('of a queued job is final: it costs nothing and is never sent', async () => {
    await using world = await open({ env: { UPSTREAM_CONCURRENCY: '1' } })
    const running = await world.submit('running sim:seconds=60')
    await world.untilStatus(running.id, 'CREATED', 'PROCESSING')
    const [canceled, next] = [
      await world.submit('gone sim:seconds=0'),
      await world.submit('next sim:seconds=0'),
    ]
    expect((await world.read(next.id)).queuePosition).toBe(2)
    const answer = await world.cancel(canceled.id)
    expect(answer).toMatchObject({
      __typename: 'CancelPredictionPayload',
      mayStillBeCharged: false,
      prediction: {
        id: canceled.id,
        status: 'CANCELED',
        cost: { amount: 0 },
        queuePosition: null,
        error: null,
        outputs: [],
        upstreamId: null,
        submittedAt: null,
        finishedAt: expect.any(String),
      },
    })
    expect(await world.read(canceled.id)).toEqual(answer.prediction)
    expect((await world.read(next.id)).queuePosition).toBe(1)
    world.gateway.simulator?.advance(61 * SECOND)
    await world.untilStatus(next.id, 'COMPLETED')
    await world.untilSubmitterClaimed()
    expect(world.submittedPrompts()).toEqual([running.prompt, next.prompt])
    expect(await world.read(canceled.id)).toEqual(answer.prediction)
  })

  test('of a job that waits for the submit circuit is never sent when that closes', async () => {
    let isFailing = true
    await using world = await open({ fault: () => (isFailing ? refusal(401) : null) })
    const rejected = await world.submit('refused sim:seconds=0')
    await world.untilCircuitOpen()
    const other = await world.submit('other sim:seconds=0')
    expect(await world.cancel(rejected.id)).toMatchObject({
      mayStillBeCharged: false,
      prediction: { status: 'CANCELED', cost: { amount: 0 } },
    })
    isFailing = false
    world.advanceClock(MINUTE + SECOND)
    await world.untilStatus(other.id, 'COMPLETED')
    await world.untilSubmitterClaimed()
    expect(world.submittedPrompts()).toEqual([rejected.prompt, other.prompt])
    expect(await world.read(rejected.id)).toMatchObject({ status: 'CANCELED', cost: { amount: 0 } })
  })

  test('of a job whose POST is in flight says that it may still be charged, whatever the answer', () =>
    runConcurrently<[title: string, fault: Fault, submission: string, upstream: boolean]>(
      [
        ['upstream never got', { stall: 'before' }, 'unknown', false],
        ['upstream has taken', { stall: 'after' }, 'accepted', true],
      ],
      async ([_, fault, submission, isTaken]) => {
        let stalls = true
        await using world = await open({
          env: { UPSTREAM_SUBMIT_TIMEOUT_MS: '1000', UPSTREAM_UNKNOWN_MS: '1000' },
          fault: call => (isSubmit(call) && stalls ? fault : null),
        })
        const { id, prompt } = await world.submit('begun sim:seconds=0')
        await until(() => world.submittedPrompts().length === 1)
        const answer = await world.cancel(id)
        expect(answer).toMatchObject({
          __typename: 'CancelPredictionPayload',
          mayStillBeCharged: true,
          prediction: { status: 'CANCELED', queuePosition: null, cost: { amount: 0.8 }, error: null },
        })
        stalls = false
        // The search ends with a job or without one. The app was already answered its end.
        await until(async () => {
          world.advanceClock(SECOND)
          const { submission: storedSubmission, tracking } = await world.job(prompt)
          return storedSubmission === submission && (!isTaken || tracking === null)
        })
        const other = await world.submit('other sim:seconds=0')
        await world.untilStatus(other.id, 'COMPLETED')
        expect(await world.read(id)).toEqual({
          ...answer.prediction,
          upstreamId: isTaken ? expect.any(String) : null,
          submittedAt: isTaken ? expect.any(String) : null,
        })
        expect(world.submittedPrompts()).toEqual([prompt, other.prompt])
      },
    ))

  test('stays CANCELED whatever the later answer to its POST, and it is not sent again', () =>
    runConcurrently<[title: string, fault: Fault | null, cost: number]>(
      [
        ['accepts it', null, 0.8],
        ['refuses its input', refusal(400), 0],
        ['refuses the account', refusal(402), 0],
        ['wants fewer', refusal(429), 0],
        ['says nothing that could be read', refusal(500), 0.8],
      ],
      async ([_, fault, cost]) => {
        let isFailing = true
        await using world = await open({ fault: call => (isSubmit(call) && isFailing ? fault : null) })
        const { store } = world
        const { change } = store
        let release = () => {}
        const gate = new Promise<void>(resolve => {
          release = resolve
        })
        // The answer has arrived and is held up on its way to the row.
        store.change = async (...args) => {
          if (args[3] !== undefined && world.submittedPrompts().length === 1) await gate
          return change(...args)
        }
        const { data } = await world.harness.query('{ feedCursor }', {}, world.key)
        const { id, prompt } = await world.submit('begun sim:seconds=0')
        await until(() => world.submittedPrompts().length === 1)
        expect(await world.cancel(id)).toMatchObject({
          mayStillBeCharged: true,
          prediction: { status: 'CANCELED', cost: { amount: 0.8 } },
        })
        release()
        await until(async () => (await world.job(prompt)).submission !== 'begun')
        store.change = change
        isFailing = false
        world.advanceClock(MINUTE + SECOND)
        const other = await world.submit('other sim:seconds=0')
        await world.untilStatus(other.id, 'COMPLETED')
        expect(await world.read(id)).toMatchObject({
          status: 'CANCELED',
          error: null,
          outputs: [],
          queuePosition: null,
          cost: { amount: cost },
        })
        expect(world.submittedPrompts()).toEqual([prompt, other.prompt])

        // There is one end. If nothing was charged, an event says so.
        const feed = world.harness.subscribe('SSE', FEED, { after: data.feedCursor }, world.key)
        const statuses = []
        for (let last = ''; last !== 'COMPLETED'; ) {
          const { previousStatus, prediction } = (await take(feed, 1))[0]!.data.predictionFeed
          if (prediction.id !== id) last = prediction.status
          else if (prediction.status !== 'QUEUED')
            statuses.push([previousStatus, prediction.status, prediction.cost.amount])
        }
        expect(statuses).toEqual([
          ['QUEUED', 'CANCELED', 0.8],
          ...(cost === 0 ? [['CANCELED', 'CANCELED', 0]] : []),
        ])
        await feed.return?.()
      },
    ))

  test('of a job that upstream has keeps its cost and its slot until that has ended, in whatever way, and stays CANCELED', () =>
    runConcurrently<[end: string, words: string]>(
      [
        ['completes', ''],
        ['fails', 'sim:fail=1200'],
        ['fails for want of time', 'sim:end=timeout'],
        ['is canceled there', 'sim:end=cancelled'],
        ['completes without a video', 'sim:empty'],
      ],
      async ([end, words]) => {
        await using world = await open({ env: { UPSTREAM_CONCURRENCY: '1' } })
        const { id, prompt } = await world.submit(`first sim:seconds=60 ${words}`)
        await world.untilStatus(id, 'CREATED')
        const next = await world.submit('next sim:seconds=0')
        if (end === 'completes') {
          world.gateway.simulator?.advance(20 * SECOND)
          await world.untilStatus(id, 'PROCESSING')
        }
        const { data } = await world.harness.query('{ feedCursor }', {}, world.key)
        const answer = await world.cancel(id)
        expect(answer).toMatchObject({
          mayStillBeCharged: true,
          prediction: {
            status: 'CANCELED',
            cost: { amount: 0.8 },
            upstreamId: expect.any(String),
            error: null,
            finishedAt: expect.any(String),
          },
        })
        const before = world.polls().length
        await until(() => world.polls().length >= before + 2)
        await world.untilSubmitterClaimed()
        expect(world.submittedPrompts()).toEqual([prompt])
        expect(await world.read(next.id)).toMatchObject({ status: 'QUEUED', queuePosition: 1 })

        world.gateway.simulator?.advance(61 * SECOND)
        await world.untilStatus(next.id, 'COMPLETED')
        expect(world.submittedPrompts()).toEqual([prompt, next.prompt])
        expect(await world.read(id)).toEqual(answer.prediction)
        expect((await world.job(prompt)).tracking).toBeNull()

        // The feed delivers the one end, once, and no later event.
        const feed = world.harness.subscribe('SSE', FEED, { after: data.feedCursor }, world.key)
        const events = []
        for (let last = ''; last !== 'COMPLETED'; ) {
          const item = (await take(feed, 1))[0]?.data.predictionFeed
          if (item.prediction?.id === id) events.push([item.previousStatus, item.prediction.status])
          else last = item.prediction?.status
        }
        expect(events).toEqual([[end === 'completes' ? 'PROCESSING' : 'CREATED', 'CANCELED']])
        await feed.return?.()
      },
    ))

  test('of a finished job is AlreadyFinishedError with the prediction, and changes nothing', async () => {
    await using world = await open()
    const scope = fullScope((await world.store.findAppByName('test'))!.id)
    const eventCount = (id: string) =>
      world.store
        .eventsAfter({ scope, afterSeq: 0, limit: 100, predictionId: decodeId(id).id })
        .then(({ events }) => events)
    const jobs: [id: string, status: string][] = []
    for (const [words, status] of [
      ['', 'COMPLETED'],
      ['sim:fail=1200', 'FAILED'],
      ['sim:end=deleted', 'CANCELED'],
    ]) {
      const { id } = await world.submit(`x sim:seconds=0 ${words}`)
      jobs.push([id, status!])
    }
    for (const [id, status] of jobs) {
      const ended = await world.untilStatus(id, ...FINAL_STATUSES)
      expect(ended.status).toBe(status)
      const before = await eventCount(id)
      expect(await world.cancel(id)).toMatchObject({
        __typename: 'AlreadyFinishedError',
        code: 'ALREADY_FINISHED',
        retryable: false,
        prediction: ended,
      })
      expect(await world.read(id)).toEqual(ended)
      expect(await eventCount(id)).toEqual(before)
    }
  })

  test('twice gets AlreadyFinishedError, twenty times at once makes one cancel', async () => {
    await using world = await open()
    const { id } = await world.submit('x sim:seconds=60')
    await world.untilStatus(id, 'CREATED')
    const { head } = await world.store.eventRange()
    const answers = await Promise.all(Array.from({ length: 20 }, () => world.cancel(id)))
    const kinds = answers.map(answer => answer.__typename).sort()
    expect(kinds).toEqual([...Array(19).fill('AlreadyFinishedError'), 'CancelPredictionPayload'])
    expect(new Set(answers.map(answer => answer.prediction.finishedAt)).size).toBe(1)
    expect(await world.cancel(id)).toMatchObject({
      code: 'ALREADY_FINISHED',
      prediction: { status: 'CANCELED' },
    })
    expect((await world.store.eventRange()).head).toBe(head + 1)
  })
})

describe.each(['cancelPrediction', 'retryPrediction'] as const)('%s', name => {
  test("of an unknown id, another app's and garbage gets the same NotFoundError, and changes nothing", async () => {
    await using world = await open()
    const other = await world.otherAppKey()
    const otherAppJobs = [
      await world.submit('failed sim:seconds=0 sim:fail=1200', other),
      await world.submit('running sim:seconds=60', other),
    ]
    await until(() => world.submittedPrompts().length === 2)
    const { data } = await world.harness.query('{ viewer { id } }', {}, world.key)
    const { head } = await until(async () => {
      const bounds = await world.store.eventRange()
      // Events: queued, created, failed; queued, created.
      return bounds.head >= 5 && bounds
    })
    const ids = [
      ...otherAppJobs.map(job => job.id),
      UNKNOWN,
      'garbage',
      '',
      data.viewer.id,
      `${otherAppJobs[0]?.id}=`,
    ]
    for (const id of ids)
      expect(await (name === 'cancelPrediction' ? world.cancel(id) : world.retry({ id }))).toEqual({
        __typename: 'NotFoundError',
        code: 'NOT_FOUND',
        message: 'Nothing was found for this id.',
        retryable: false,
      })
    expect((await world.store.eventRange()).head).toBe(head)
    expect(world.submittedPrompts()).toHaveLength(2)
  })
})

test.each(TRANSPORTS)(
  'over %s predictionUpdated delivers CANCELED last and completes, the feed delivers it once',
  async transport => {
    await using world = await open()
    const { harness, key } = world
    const feed = harness.subscribe(transport, FEED, {}, key)
    await take(feed, 1)
    const { id, prompt } = await world.submit('x sim:seconds=60')
    await world.untilStatus(id, 'CREATED')
    const updates = harness.subscribe(transport, UPDATED, { id }, key)
    const [present] = await take(updates, 1)
    expect(present?.data.predictionUpdated.status).toBe('CREATED')
    await world.cancel(id)
    expect((await drain(updates)).map(result => result.data.predictionUpdated)).toEqual([
      { id, status: 'CANCELED' },
    ])
    // A later subscriber receives only the end.
    expect((await drain(harness.subscribe(transport, UPDATED, { id }, key))).map(r => r.data)).toEqual([
      { predictionUpdated: { id, status: 'CANCELED' } },
    ])

    world.gateway.simulator?.advance(61 * SECOND)
    await until(async () => (await world.job(prompt)).tracking === null)
    const sentinel = await world.submit('y sim:seconds=0')
    const statuses: string[] = []
    for (let last = ''; last !== 'COMPLETED'; ) {
      const { prediction } = (await take(feed, 1))[0]!.data.predictionFeed
      if (prediction.id === sentinel.id) last = prediction.status
      else statuses.push(prediction.status)
    }
    expect(statuses).toEqual(['QUEUED', 'CREATED', 'CANCELED'])
    await feed.return?.()
  },
)

describe('retryPrediction', () => {
  const RETRIED_INPUT = {
    model: 'WAN_2_2_I2V_PLUS_480P',
    negativePrompt: 'blur',
    enablePromptExpansion: true,
    seed: 7,
    tags: ['a', 'b'],
    metadata: { shot: [1, null, 'ü'] },
  }

  test.each(['FAILED', 'CANCELED', 'CANCELED while it waited'])(
    'of a %s prediction submits the same input again, linked to it, at the present price',
    async how => {
      await using world = await open({ env: { UPSTREAM_CONCURRENCY: '1' } })
      const waits = how.includes('waited')
      const blocker = waits ? await world.submit('blocker sim:seconds=60') : null
      if (blocker) await world.untilStatus(blocker.id, 'CREATED', 'PROCESSING')
      const words = how === 'FAILED' ? 'sim:seconds=0 sim:fail=1403' : 'sim:seconds=60'
      const { id, prompt } = await world.submit(`old ${words}`, undefined, RETRIED_INPUT)
      if (how !== 'FAILED') {
        await world.untilStatus(id, waits ? 'QUEUED' : 'CREATED')
        await world.cancel(id)
      }
      const old = await world.untilStatus(id, 'FAILED', 'CANCELED')

      const { price } = MODELS.WAN_2_2_I2V_PLUS_480P
      Object.assign(MODELS.WAN_2_2_I2V_PLUS_480P, { price: 250_000 })
      let answer: Awaited<ReturnType<typeof world.retry>>
      try {
        answer = await world.retry({ id })
      } finally {
        Object.assign(MODELS.WAN_2_2_I2V_PLUS_480P, { price })
      }
      expect(answer).toMatchObject({
        __typename: 'RetryPredictionPayload',
        prediction: {
          status: 'QUEUED',
          model: RETRIED_INPUT.model,
          input: old.input,
          tags: RETRIED_INPUT.tags,
          metadata: RETRIED_INPUT.metadata,
          cost: { amount: 0.25 },
          error: null,
          outputs: [],
          upstreamId: null,
          submittedAt: null,
          finishedAt: null,
          retryOf: { id, status: old.status },
        },
      })
      const again = answer.prediction
      expect(old.input).toMatchObject({
        prompt,
        negativePrompt: 'blur',
        enablePromptExpansion: true,
        seed: 7,
      })
      expect([id, UNKNOWN]).not.toContain(again.id)
      world.gateway.simulator?.advance(61 * SECOND)
      world.advanceClock(SECOND)
      if (how === 'FAILED') await world.untilStatus(again.id, 'FAILED')
      else await world.untilStatus(again.id, 'CREATED', 'PROCESSING')
      // The old prediction is unchanged, and is no retry itself.
      expect(await world.read(id)).toEqual(old)
      expect(old.retryOf).toBeNull()
      expect(world.submittedPrompts().filter(sent => sent === prompt)).toHaveLength(waits ? 1 : 2)
    },
  )

  test('of a retry is linked to that retry, and each retry without a key creates another prediction', async () => {
    await using world = await open()
    const { id } = await world.submit('x sim:seconds=0 sim:fail=1200')
    await world.untilStatus(id, 'FAILED')
    const first = (await world.retry({ id })).prediction
    const second = (await world.retry({ id, idempotencyKey: null })).prediction
    expect(new Set([id, first.id, second.id]).size).toBe(3)
    await world.untilStatus(first.id, 'FAILED')
    expect((await world.retry({ id: first.id })).prediction.retryOf.id).toBe(first.id)
  })

  test('of a queued, running or COMPLETED job gets InvalidInputError at the id', async () => {
    await using world = await open({ env: { UPSTREAM_CONCURRENCY: '1' } })
    const expectRejected = async (id: string, status: string) => {
      expect((await world.read(id)).status).toBe(status)
      const { head } = await world.store.eventRange()
      const answer = await world.retry({ id, idempotencyKey: `k ${status}` })
      expect(answer).toMatchObject({
        __typename: 'InvalidInputError',
        code: 'INVALID_INPUT',
        retryable: false,
        issues: [{ path: ['input', 'id'], message: expect.stringContaining(status) }],
      })
      expect((await world.store.eventRange()).head).toBe(head)
    }
    const { id } = await world.submit('first sim:seconds=60')
    await world.untilStatus(id, 'CREATED')
    await expectRejected(id, 'CREATED')
    const waiting = await world.submit('waiting sim:seconds=60')
    await expectRejected(waiting.id, 'QUEUED')
    world.gateway.simulator?.advance(20 * SECOND)
    await world.untilStatus(id, 'PROCESSING')
    await expectRejected(id, 'PROCESSING')
    world.gateway.simulator?.advance(60 * SECOND)
    await world.untilStatus(id, 'COMPLETED')
    await expectRejected(id, 'COMPLETED')
    // The rejected request did not use up the key.
    await world.cancel(waiting.id)
    const answer = await world.retry({ id: waiting.id, idempotencyKey: 'k QUEUED' })
    expect(answer.__typename).toBe('RetryPredictionPayload')
  })

  test('with a key that is empty, too long or half a character gets InvalidInputError at the key', async () => {
    await using world = await open()
    const { id } = await world.submit('x sim:seconds=0 sim:fail=1200')
    await world.untilStatus(id, 'FAILED')
    const { head } = await world.store.eventRange()
    for (const idempotencyKey of ['', 'k'.repeat(256), 'k\ud83d'])
      expect(await world.retry({ id, idempotencyKey })).toMatchObject({
        __typename: 'InvalidInputError',
        issues: [{ path: ['input', 'idempotencyKey'], message: expect.any(String) }],
      })
    expect((await world.store.eventRange()).head).toBe(head)
    const answer = await world.retry({ id, idempotencyKey: 'k'.repeat(255) })
    expect(answer.__typename).toBe('RetryPredictionPayload')
  })
})
