import { describe, expect, test } from 'vitest'
import { fullScope } from '../../src/domain/access-scope.ts'
import type { AppLimits } from '../../src/domain/app-limits.ts'
import type { Idempotency } from '../../src/domain/idempotency.ts'
import type { TokenLimits } from '../../src/domain/plan-create.ts'
import type { Draft } from '../../src/domain/prediction.ts'
import { clocksFrom } from '../support/clocks.ts'
import type { Engine } from '../support/engine.ts'
import { ENGINES } from '../support/engines.ts'
import { startGateway } from '../support/gateway.ts'
import {
  addPrediction,
  draft,
  HOUR,
  MINUTE,
  newApp,
  PRICE,
  pageRequest,
  SECOND,
  sharedFixture,
  submitAll,
  T,
  times,
} from '../support/store.ts'
import { mintToken, REJECT_SUBMITS } from '../support/token.ts'
import { until } from '../support/until.ts'

async function fixture(createDatabase: Engine['createDatabase'], limits: Partial<AppLimits>) {
  const f = await sharedFixture(createDatabase)
  const [store, second] = [await f.open(), await f.open()]
  const other = await newApp(store)
  const app = (await store.createApp('limited', T, { limits }))!.id
  let createCount = 0
  return {
    store,
    app,
    other,
    /** Sets limits like an operator, while a gateway runs. */
    setLimits: (patch: Partial<AppLimits>) => second.setLimits(app, patch),
    /** Returns `created`, `repeated`, `conflict` or the violation. Every second call is another process's. */
    async create(at = T, key: string | null = null, over: Partial<Draft> = {}, tokenLimits?: TokenLimits) {
      const idempotency: Idempotency | null =
        key === null ? null : { restrictionKey: '', key, fingerprint: key }
      const on = createCount++ % 2 === 0 ? store : second
      const creation = await on.create(draft(app, over), idempotency, at, tokenLimits)
      return creation.kind === 'refused' ? creation.violation : creation.kind
    },
    usage: (at = T) => store.usage(fullScope(app), at),
    [Symbol.asyncDispose]: f[Symbol.asyncDispose],
  }
}
type Fixture = Awaited<ReturnType<typeof fixture>>

const count = (answers: unknown[], expected: unknown) =>
  answers.filter(answer => JSON.stringify(answer) === JSON.stringify(expected)).length
const onlyPrediction = async (f: Fixture) =>
  (await f.store.list(fullScope(f.app), pageRequest({ limit: 1 }))).predictions[0]!

describe.each(ENGINES)('%s', (_, { createDatabase }) => {
  const limitedFixture = (limits: Partial<AppLimits>) => fixture(createDatabase, limits)

  describe('a budget', () => {
    test('for ten lets ten of 200 concurrent submits pass; the others get the budget and the spend', async () => {
      await using f = await limitedFixture({ monthlyBudget: 10 * PRICE })
      const answers = await Promise.all(times(200, () => f.create()))
      expect(count(answers, 'created')).toBe(10)
      expect(count(answers, { code: 'BUDGET_EXCEEDED', budget: 10 * PRICE, spent: 10 * PRICE })).toBe(190)
      expect(await f.usage()).toEqual({ inFlight: 0, queued: 10, spent: 10 * PRICE })
    })

    test('that is a little too small refuses one more, and a cheaper one fits', async () => {
      await using f = await limitedFixture({ monthlyBudget: 2 * PRICE - 1 })
      expect(await f.create()).toBe('created')
      expect(await f.create()).toEqual({ code: 'BUDGET_EXCEEDED', budget: 2 * PRICE - 1, spent: PRICE })
      expect(await f.create(T, null, { cost: PRICE / 2 } as object)).toBe('created')
    })

    test('of 0 refuses everything; so does one that is lowered below the spend', async () => {
      await using f = await limitedFixture({ monthlyBudget: 0 })
      expect(await f.create()).toEqual({ code: 'BUDGET_EXCEEDED', budget: 0, spent: 0 })
      await f.setLimits({ monthlyBudget: 2 * PRICE })
      expect(await f.create()).toBe('created')
      await f.setLimits({ monthlyBudget: 1 })
      expect(await f.create()).toEqual({ code: 'BUDGET_EXCEEDED', budget: 1, spent: PRICE })
      await f.setLimits({ monthlyBudget: null })
      expect(await f.create()).toBe('created')
    })

    test('regains what is refunded, and nothing else', async () => {
      await using f = await limitedFixture({ monthlyBudget: PRICE })
      expect(await f.create()).toBe('created')
      const { id } = await onlyPrediction(f)
      await f.store.change(id, () => ({ status: 'CANCELED' }), T)
      expect(await f.create()).toMatchObject({ code: 'BUDGET_EXCEEDED' })
      await f.store.change(id, () => ({ cost: 0 }), T)
      expect(await f.create()).toBe('created')
      expect(await f.create()).toMatchObject({ code: 'BUDGET_EXCEEDED' })
    })

    test('counts jobs in flight as spent', async () => {
      await using f = await limitedFixture({ monthlyBudget: PRICE })
      await f.create()
      expect(await submitAll(f.store, T)).toHaveLength(1)
      expect(await f.usage()).toEqual({ inFlight: 1, queued: 0, spent: PRICE })
      expect(await f.create()).toMatchObject({ code: 'BUDGET_EXCEEDED', spent: PRICE })
    })

    test('starts anew with the UTC month, to the millisecond; a refund goes to the month of the cost', async () => {
      await using f = await limitedFixture({ monthlyBudget: PRICE })
      const next = Date.UTC(2027, 1)
      expect(await f.create(next - 1)).toBe('created')
      const { id } = await onlyPrediction(f)
      expect(await f.create(next - 1)).toMatchObject({ code: 'BUDGET_EXCEEDED' })
      expect(await f.create(next)).toBe('created')
      expect(await f.create(next + 1)).toMatchObject({ code: 'BUDGET_EXCEEDED' })
      await f.store.change(id, () => ({ status: 'CANCELED', cost: 0 }), next + 1)
      expect(await f.create(next + 2)).toMatchObject({ code: 'BUDGET_EXCEEDED' })
      expect([await f.usage(next - 1), await f.usage(next)]).toMatchObject([{ spent: 0 }, { spent: PRICE }])
      // The clock is set back into the month before.
      expect(await f.create(next - HOUR)).toBe('created')
    })

    test('counts only the app’s own spend', async () => {
      await using f = await limitedFixture({ monthlyBudget: PRICE })
      for (let i = 0; i < 5; i++) await addPrediction(f.store, f.other)
      expect(await f.create()).toBe('created')
      expect(await f.create()).toMatchObject({ code: 'BUDGET_EXCEEDED' })
      await addPrediction(f.store, f.other)
    })
  })

  describe('a queue limit', () => {
    test('accepts as many of 200 concurrent submits as it may; a sent or canceled job makes room', async () => {
      await using f = await limitedFixture({ maxQueued: 4 })
      const answers = await Promise.all(times(200, () => f.create()))
      expect([count(answers, 'created'), count(answers, { code: 'QUEUE_FULL' })]).toEqual([4, 196])
      const { id } = await onlyPrediction(f)
      await f.store.change(id, () => ({ status: 'CANCELED' }), T)
      expect([await f.create(), await f.create()]).toEqual(['created', { code: 'QUEUE_FULL' }])
      expect(await submitAll(f.store, T)).toHaveLength(4)
      const again = await Promise.all(times(9, () => f.create()))
      expect(count(again, 'created')).toBe(4)
    })

    test('of 0 accepts nothing', async () => {
      await using f = await limitedFixture({ maxQueued: 0 })
      expect(await f.create()).toEqual({ code: 'QUEUE_FULL' })
    })
  })

  describe('submits per minute', () => {
    test('never exceed the limit in any minute; `retryAfterMs` is exact to the millisecond', async () => {
      await using f = await limitedFixture({ submitsPerMinute: 3 })
      for (const at of [0, 10_000, 20_000]) expect(await f.create(T + at)).toBe('created')
      for (const at of [20_000, 20_001, 45_678, 59_999]) {
        const refusal = await f.create(T + at)
        expect(refusal).toEqual({ code: 'RATE_LIMITED', retryAfterMs: MINUTE - at })
      }
      expect(await f.create(T + MINUTE)).toBe('created')
      expect(await f.create(T + MINUTE)).toEqual({ code: 'RATE_LIMITED', retryAfterMs: 10_000 })
      expect(await f.create(T + MINUTE + 9_999)).toEqual({ code: 'RATE_LIMITED', retryAfterMs: 1 })
      expect(await f.create(T + MINUTE + 10_000)).toBe('created')
    })

    test('with a limit of one, one of 200 concurrent submits passes; `retryAfterMs` is the wait of the next', async () => {
      await using f = await limitedFixture({ submitsPerMinute: 1 })
      const answers = await Promise.all(times(200, () => f.create()))
      expect(count(answers, 'created')).toBe(1)
      expect(count(answers, { code: 'RATE_LIMITED', retryAfterMs: MINUTE })).toBe(199)
      expect(await f.create(T + MINUTE - 1)).toEqual({ code: 'RATE_LIMITED', retryAfterMs: 1 })
      expect(await f.create(T + MINUTE)).toBe('created')
    })

    test('count ended jobs, and none of another app', async () => {
      await using f = await limitedFixture({ submitsPerMinute: 1 })
      await addPrediction(f.store, f.other)
      expect(await f.create()).toBe('created')
      await f.store.change((await onlyPrediction(f)).id, () => ({ status: 'CANCELED', cost: 0 }), T)
      expect(await f.create(T + 1)).toMatchObject({ code: 'RATE_LIMITED' })
    })

    test('a clock set back an hour blocks no app for an hour, and the limit still applies', async () => {
      await using f = await limitedFixture({ submitsPerMinute: 2 })
      expect([await f.create(T), await f.create(T + 1)]).toEqual(['created', 'created'])
      const back = T - HOUR
      expect([await f.create(back), await f.create(back + SECOND)]).toEqual(['created', 'created'])
      const refusal = await f.create(back + 2 * SECOND)
      expect(refusal).toEqual({ code: 'RATE_LIMITED', retryAfterMs: 58 * SECOND })
      expect(await f.create(back + MINUTE - 1)).toMatchObject({ retryAfterMs: 1 })
      expect(await f.create(back + MINUTE)).toBe('created')
    })

    test('a clock set back a little blocks no app for long, and `retryAfterMs` is exact', async () => {
      await using f = await limitedFixture({ submitsPerMinute: 1 })
      expect(await f.create(T)).toBe('created')
      const refusal = await f.create(T - 5 * SECOND)
      expect(refusal).toEqual({ code: 'RATE_LIMITED', retryAfterMs: MINUTE + 5 * SECOND })
      expect(await f.create(T + MINUTE)).toBe('created')
    })
  })

  test('a repeated request passes at every limit; a key used for another request is a conflict', async () => {
    for (const limits of [{ monthlyBudget: PRICE }, { maxQueued: 1 }, { submitsPerMinute: 1 }]) {
      await using f = await limitedFixture(limits)
      expect(await f.create(T, 'k')).toBe('created')
      const answers = await Promise.all(times(20, i => f.create(T + i, 'k')))
      expect(count(answers, 'repeated')).toBe(20)
      const other = await f.store.create(draft(f.app), { restrictionKey: '', key: 'k', fingerprint: 'x' }, T)
      expect(other.kind).toBe('conflict')
      expect(await f.create(T, 'l')).toMatchObject({ code: expect.any(String) })
      // A refusal does not take the key.
      await f.setLimits({ monthlyBudget: null, maxQueued: null, submitsPerMinute: null })
      expect(await f.create(T, 'l')).toBe('created')
    }
  })

  test('violations that waiting does not cure are reported first, the token’s own limit before all', async () => {
    await using f = await limitedFixture({ monthlyBudget: 0, maxQueued: 0, submitsPerMinute: 1 })
    const bounds = { maxSubmits: 0 }
    expect(await f.create(T, null, { tokenId: 't' }, bounds)).toEqual({ code: 'FORBIDDEN' })
    expect(await f.create()).toMatchObject({ code: 'BUDGET_EXCEEDED' })
    await f.setLimits({ monthlyBudget: null })
    expect(await f.create()).toEqual({ code: 'QUEUE_FULL' })
  })

  test('a token creates at most `maxSubmits` of 200 concurrent submits; another token has its own', async () => {
    await using f = await limitedFixture({ weight: 1 })
    for (const tokenId of ['t', 'u']) {
      const answers = await Promise.all(times(200, () => f.create(T, null, { tokenId }, { maxSubmits: 7 })))
      expect([count(answers, 'created'), count(answers, { code: 'FORBIDDEN' })]).toEqual([7, 193])
    }
  })
})

const SUBMIT = `mutation ($input: SubmitVideoInput!) { answer: submitVideo(input: $input) {
  __typename
  ... on SubmitVideoPayload { prediction { id } }
  ... on Error { code retryable }
  ... on BudgetExceededError { budget { amount currency } spent { amount currency } }
  ... on RateLimitedError { retryAfterMs } } }`
const INPUT = { image: { url: 'https://images.example/cat.png' }, prompt: 'x' }

describe('over HTTP', () => {
  async function start(limits: Partial<AppLimits>, now = Date.now) {
    const harness = await startGateway({ overrides: { ...REJECT_SUBMITS, clocks: clocksFrom(now) } })
    const app = await harness.gateway.store.findAppByName('test')
    await harness.gateway.store.setLimits(app!.id, limits)
    const submit = async (input: object = {}, key?: string) => {
      const { data, errors } = await harness.query(SUBMIT, { input: { ...INPUT, ...input } }, key)
      expect(errors).toBeUndefined()
      return data.answer
    }
    return { harness, submit, [Symbol.asyncDispose]: () => harness[Symbol.asyncDispose]() }
  }

  test('ten of 200 concurrent submits against a budget for ten are accepted, by key and by token', async () => {
    await using world = await start({ monthlyBudget: 10 * PRICE })
    const token = await mintToken(world.harness, { tags: ['a'] })
    const answers = await Promise.all(times(200, i => world.submit({}, i % 2 === 0 ? token : undefined)))
    expect(answers.filter(({ prediction }) => prediction)).toHaveLength(10)
    const cost = { amount: 8, currency: 'USD' }
    const refusal = {
      __typename: 'BudgetExceededError',
      code: 'BUDGET_EXCEEDED',
      retryable: false,
      budget: cost,
      spent: cost,
    }
    expect(answers.filter(({ code }) => code)).toEqual(times(190, () => refusal))
    const { data } = await world.harness.query(
      '{ viewer { limits { monthlyBudget { amount } maxQueued } usage { queued spentThisMonth { amount } } } }',
    )
    expect(data.viewer).toEqual({
      limits: { monthlyBudget: { amount: 8 }, maxQueued: null },
      usage: { queued: 10, spentThisMonth: { amount: 8 } },
    })
    const { edges } = (await world.harness.query('{ predictions(first: 100) { edges { node { id } } } }'))
      .data.predictions
    expect(edges).toHaveLength(10)
    await world.harness.restart()
    expect((await world.submit()).code).toBe('BUDGET_EXCEEDED')
  })

  test('a job canceled before it was sent makes room, in the queue and in the budget', async () => {
    await using world = await start({ maxQueued: 2, monthlyBudget: 2 * PRICE })
    const ids = [await world.submit(), await world.submit()].map(({ prediction }) => prediction.id)
    expect((await world.submit()).code).toBe('BUDGET_EXCEEDED')
    const cancel = `mutation ($id: ID!) { cancelPrediction(input: {id: $id}) { __typename } }`
    await until(async () => {
      await world.harness.query(cancel, { id: ids[0] })
      return (await world.submit()).prediction
    })
    expect((await world.submit()).code).toBe('BUDGET_EXCEEDED')
  })

  test('a retry is limited like any submit, and passes after `retryAfterMs`', async () => {
    let at = T
    await using world = await start({ submitsPerMinute: 1 }, () => at)
    const { prediction } = await world.submit()
    await world.harness.query(
      `mutation ($id: ID!) { cancelPrediction(input: {id: $id}) { __typename } }`,
      prediction,
    )
    const retry = `mutation ($id: ID!) { answer: retryPrediction(input: {id: $id}) {
      __typename ... on RateLimitedError { retryAfterMs retryable } } }`
    at += 20_123
    const { data } = await world.harness.query(retry, prediction)
    expect(data.answer).toEqual({
      __typename: 'RateLimitedError',
      retryable: true,
      retryAfterMs: MINUTE - 20_123,
    })
    at += data.answer.retryAfterMs - 1
    expect((await world.harness.query(retry, prediction)).data.answer.retryAfterMs).toBe(1)
    at += 1
    expect((await world.harness.query(retry, prediction)).data.answer.__typename).toBe(
      'RetryPredictionPayload',
    )
  })
})
